//! Reading and writing of numbers. Reading never goes beyond the end; writing never fails.

/// Why bytes can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end too early.
    #[error("{0} is cut short")]
    Short(&'static str),
    /// A number has more bits than it may have.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// Something follows where nothing may.
    #[error("bytes follow {0}")]
    Trailing(&'static str),
}

/// Reads from the front.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// Whether all is read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// What is left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.left
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(Malformed::Short(what))?;
        self.left = left;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (taken, left) = self.left.split_first_chunk().ok_or(Malformed::Short(what))?;
        self.left = left;
        Ok(*taken)
    }

    /// A byte.
    ///
    /// # Errors
    /// At the end.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// A number in LEB128, in its shortest form.
    ///
    /// # Errors
    /// When it is cut short, longer than it has to be, or has more than 64 bits.
    pub fn number(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return Err(Malformed::Range(what));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed::Range(what))
    }

    /// A number of at most 32 bits in LEB128.
    ///
    /// # Errors
    /// When it is cut short, longer than it has to be, or has more than 32 bits.
    pub fn number32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        u32::try_from(self.number(what)?).map_err(|_| Malformed::Range(what))
    }

    /// Bytes that are preceded by their length.
    ///
    /// # Errors
    /// When they are cut short.
    pub fn counted(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let count = self.number(what)?;
        self.take(usize::try_from(count).map_err(|_| Malformed::Range(what))?, what)
    }

    /// Makes sure that all is read.
    ///
    /// # Errors
    /// When it isn't.
    pub const fn end(&self, what: &'static str) -> Result<(), Malformed> {
        if self.left.is_empty() { Ok(()) } else { Err(Malformed::Trailing(what)) }
    }
}

/// Writes to the end.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// What was written.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// How much was written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Forgets all but the first bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Writes bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes a byte.
    pub fn u8(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Writes a number in LEB128.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// Writes bytes, preceded by their length.
    pub fn counted(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.put(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_is_read_as_it_was_written(number: u64) {
            let mut writer = Writer::default();
            writer.number(number);
            let mut reader = Reader::new(writer.as_slice());
            prop_assert_eq!(reader.number("it"), Ok(number));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn what_is_read_as_a_number_is_its_only_form(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            if let Ok(number) = reader.number("it") {
                let mut writer = Writer::default();
                writer.number(number);
                prop_assert_eq!(writer.len() + reader.rest().len(), bytes.len());
            }
        }
    }

    #[test]
    fn numbers_beyond_their_range_are_refused() {
        for bytes in [&[0xff; 10][..], &[0x80, 0], &[0x80], &[]] {
            assert!(Reader::new(bytes).number("it").is_err(), "{bytes:?}");
        }
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).number32("it").is_err());
    }
}
