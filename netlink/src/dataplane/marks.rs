//! Which bits of connmark and packet mark are ours, and what they say.
//!
//! ```text
//!  31    28 27   24 23                                   0
//! ┌────────┬───────┬──────────────────────────────────────┐
//! │control │ not   │ session key (connmark, packet mark), │   with the default widths
//! │(packet)│ ours  │ or flags on the way to the daemon    │
//! └────────┴───────┴──────────────────────────────────────┘
//! ```
//!
//! The key has the lowest bits because the rule that saves it into the connmark without touching
//! other bits works by shifts across two registers: nf_tables can OR two registers only from
//! Linux 6.13 on, and the xtables target CONNMARK doesn't exist in inet tables.

/// The daemon was asked about this packet: flag on the way up.
pub const ASKED: u32 = 1;
/// `ct state related`: flag on the way up.
pub const RELATED: u32 = 2;
/// `ct status expected`: flag on the way up.
pub const EXPECTED: u32 = 4;
/// The session has a key, but not one in the map: flag on the way up.
pub const STALE: u32 = 8;

/// The owned bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    width: u32,
    control: [u32; 4],
}

/// Why bits can't be owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The mask is not a run of 12 to 28 lowest bits.
    #[error("connmark mask {0:#010x} is not a run of 12 to 28 of the lowest bits")]
    Mask(u32),
    /// Not four bits.
    #[error("control bits {0:#010x} are not exactly four bits")]
    Control(u32),
    /// Both.
    #[error("control bits {control:#010x} overlap the connmark mask {mask:#010x}")]
    Overlap {
        /// Key bits.
        mask: u32,
        /// Control bits.
        control: u32,
    },
}

impl Default for Marks {
    fn default() -> Self {
        Self { width: 24, control: [1 << 31, 1 << 30, 1 << 29, 1 << 28] }
    }
}

impl Marks {
    /// Owns the bits of `mask` in both marks and the four bits of `control` in the packet mark.
    ///
    /// # Errors
    /// When the mask isn't a run of 12 to 28 of the lowest bits, or `control` isn't four others.
    pub fn new(mask: u32, control: u32) -> Result<Self, Error> {
        let width = mask.trailing_ones();
        if mask.checked_shr(width).unwrap_or_default() != 0 || !(12..=28).contains(&width) {
            return Err(Error::Mask(mask));
        }
        let bits: Vec<u32> =
            (0..u32::BITS).rev().map(|n| 1 << n).filter(|b| control & b != 0).collect();
        let control: [u32; 4] = bits.try_into().map_err(|_| Error::Control(control))?;
        let marks = Self { width, control };
        if mask & marks.control_mask() != 0 {
            return Err(Error::Overlap { mask, control: marks.control_mask() });
        }
        Ok(marks)
    }

    /// Bits of a session key.
    #[must_use]
    pub const fn width(self) -> u32 {
        self.width
    }

    /// The key's bits, of connmark and packet mark.
    #[must_use]
    pub const fn key_mask(self) -> u32 {
        (1 << self.width) - 1
    }

    /// Control: the daemon has answered, the key's bits hold the key.
    #[must_use]
    pub const fn verdict(self) -> u32 {
        self.control[0]
    }

    /// Control: the packet runs in its session's reply direction.
    #[must_use]
    pub const fn reply(self) -> u32 {
        self.control[1]
    }

    /// Control: the packet goes to the daemon for the second time.
    #[must_use]
    pub const fn again(self) -> u32 {
        self.control[2]
    }

    /// Control: the key refuses, remember the flow.
    #[must_use]
    pub const fn deny(self) -> u32 {
        self.control[3]
    }

    /// All control bits.
    #[must_use]
    pub const fn control_mask(self) -> u32 {
        self.control[0] | self.control[1] | self.control[2] | self.control[3]
    }

    /// Everything that is ours in the packet mark.
    #[must_use]
    pub const fn owned(self) -> u32 {
        self.key_mask() | self.control_mask()
    }

    /// The packet mark that takes a key back into the kernel; bits that aren't ours stay.
    #[must_use]
    pub const fn answer(self, asked: u32, key: u32, refuses: bool) -> u32 {
        let kept = asked & !(self.key_mask() | self.reply() | self.deny());
        let deny = if refuses { self.deny() } else { 0 };
        kept | self.verdict() | deny | (key & self.key_mask())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bits_and_the_second_pass_survive_an_answer() {
        let marks = Marks::default();
        let asked = 0x0500_0000 | marks.again() | marks.reply() | ASKED;
        let answer = marks.answer(asked, 0x00ab_cdef, true);
        assert_eq!(answer, 0x05ab_cdef | marks.verdict() | marks.again() | marks.deny());
    }

    #[test]
    fn masks_that_cannot_work_are_refused() {
        assert_eq!(Marks::new(0x00ff_ff00, 0xf000_0000), Err(Error::Mask(0x00ff_ff00)));
        assert_eq!(Marks::new(0x0000_07ff, 0xf000_0000), Err(Error::Mask(0x0000_07ff)));
        assert_eq!(Marks::new(0x0000_ffff, 0x7000_0000), Err(Error::Control(0x7000_0000)));
        assert_eq!(Marks::new(0xffff, 0x000f_0000).map(Marks::width), Ok(16));
        assert!(matches!(Marks::new(0xffff, 0x0000_f000), Err(Error::Overlap { .. })));
        assert_eq!(Marks::new(0x00ff_ffff, 0xf000_0000), Ok(Marks::default()));
    }
}
