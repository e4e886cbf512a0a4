//! Hands out session keys in rising order.

use super::SessionKey;
use serde::{Deserialize, Serialize};

/// Where the next key comes from. A number is not used again until the numbers wrap round, so
/// that a mark of an old policy is not mistaken for a key of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct KeyAllocator {
    next: u32,
    mask: u32,
}

/// Why numbers do not make an allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocatorError {
    /// The mask's bits are not the lowest ones, or it has none.
    #[error("key mask {0:#x} does not consist of the lowest bits")]
    Mask(u32),
    /// The next key is 0 or has bits outside the mask.
    #[error("next key {next:#x} does not fit key mask {mask:#x}")]
    Next {
        /// The next key.
        next: u32,
        /// The mask.
        mask: u32,
    },
}

impl KeyAllocator {
    /// An allocator that starts from 1.
    ///
    /// # Errors
    /// When the mask is not 2^n - 1 with n from 1 to 32.
    pub const fn new(mask: u32) -> Result<Self, AllocatorError> {
        if mask == 0 || mask & mask.wrapping_add(1) != 0 {
            return Err(AllocatorError::Mask(mask));
        }
        Ok(Self { next: 1, mask })
    }

    /// The bits that keys may have; also the largest key.
    #[must_use]
    pub const fn mask(&self) -> u32 {
        self.mask
    }

    /// The next key that is not in use, or `None` when all are.
    pub fn allocate(&mut self, in_use: impl Fn(SessionKey) -> bool) -> Option<SessionKey> {
        for _ in 0..self.mask {
            let candidate = SessionKey::from_mark(self.next)?;
            self.next = if self.next == self.mask { 1 } else { self.next + 1 };
            if !in_use(candidate) {
                return Some(candidate);
            }
        }
        None
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    next: u32,
    mask: u32,
}

impl TryFrom<Stored> for KeyAllocator {
    type Error = AllocatorError;

    fn try_from(Stored { next, mask }: Stored) -> Result<Self, AllocatorError> {
        let new = Self::new(mask)?;
        if next == 0 || next > mask {
            return Err(AllocatorError::Next { next, mask });
        }
        Ok(Self { next, ..new })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_rise_wrap_and_skip_those_in_use() {
        let mut keys = KeyAllocator::new(7).unwrap();
        let taken: Vec<u32> =
            (0..9).map(|_| keys.allocate(|key| key.mark() == 2).unwrap().mark()).collect();
        assert_eq!(taken, [1, 3, 4, 5, 6, 7, 1, 3, 4]);
        assert_eq!(keys.allocate(|_| true), None);
    }

    #[test]
    fn only_low_bits_are_a_mask() {
        assert!(KeyAllocator::new(u32::MAX).is_ok());
        assert_eq!(KeyAllocator::new(0), Err(AllocatorError::Mask(0)));
        assert_eq!(KeyAllocator::new(0xff00), Err(AllocatorError::Mask(0xff00)));
    }
}
