//! Bytes that tell where in a stream they belong, so that a receiver can check them.

/// A prime below 256, so that no power of two repeats the pattern.
const PERIOD: u64 = 251;

/// The byte at this place of every stream.
fn byte(place: u64) -> u8 {
    u8::try_from(place % PERIOD).unwrap_or(0)
}

/// Fills a buffer that begins at this place of the stream.
pub fn fill(buffer: &mut [u8], place: u64) {
    for (to, place) in buffer.iter_mut().zip(place..) {
        *to = byte(place);
    }
}

/// Counts the bytes that don't belong at this place of the stream.
#[must_use]
pub fn count_wrong(bytes: &[u8], place: u64) -> u64 {
    let wrong = bytes.iter().zip(place..).filter(|&(&found, place)| found != byte(place));
    u64::try_from(wrong.count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_stream_is_noticed() {
        let mut buffer = [0; 1000];
        fill(&mut buffer, 5000);
        assert_eq!(count_wrong(&buffer, 5000), 0);
        assert_eq!(count_wrong(&buffer, 5001), 1000);
    }
}
