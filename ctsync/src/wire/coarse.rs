//! Timeouts in one byte. The time that is left changes with every packet and nobody needs it to
//! the second: it is rounded up to one of 256 steps, each at most 1/16 above the one before it.
//!
//! ```text
//!   7   4 3   0
//!  ┌─────┬─────┐   0 to 31 s as they are, then (16 + m) * 2^(e-1) s
//!  │  e  │  m  │
//!  └─────┴─────┘
//! ```

/// The longest that can be said: 31 * 2^14 s, 5.9 days. Longer ones are said as this.
pub const LONGEST: u32 = 31 << 14;

/// The step for so many seconds.
#[must_use]
pub const fn code(seconds: u32) -> u8 {
    if seconds >= LONGEST {
        return 0xff;
    }
    if seconds < 32 {
        return seconds as u8;
    }
    let mut shift = 27 - seconds.leading_zeros();
    let mut mantissa = (seconds + (1 << shift) - 1) >> shift;
    if mantissa == 32 {
        mantissa = 16;
        shift += 1;
    }
    ((shift as u8 + 1) << 4) | (mantissa as u8 - 16)
}

/// The seconds of a step.
#[must_use]
pub const fn seconds(code: u8) -> u32 {
    let (exponent, mantissa) = (code >> 4, (code & 15) as u32);
    if exponent == 0 { mantissa } else { (16 + mantissa) << (exponent - 1) }
}

/// So many seconds, rounded up to a step.
#[must_use]
pub const fn rounded(timeout: u32) -> u32 {
    seconds(code(timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_goes_up_by_a_sixteenth_at_most() {
        for timeout in (0..LONGEST).step_by(7) {
            let rounded = rounded(timeout);
            assert!(rounded >= timeout && rounded <= timeout + timeout / 16 + 1, "{timeout}");
        }
        assert_eq!(rounded(u32::MAX), LONGEST);
    }

    #[test]
    fn every_step_stands_for_itself() {
        for step in 0..=255 {
            assert_eq!(code(seconds(step)), step);
        }
    }
}
