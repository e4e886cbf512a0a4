//! The kernel's own figures of its packet queues.
//!
//! Goes in: `/proc/net/netfilter/nfnetlink_queue`. Comes out: a row for each queue. Not here: the
//! figures of the program that owns a queue, see [`super::Stats`].

use std::{fs, io};

/// The file, for the network namespace of the calling thread; `/proc/net` would be that of the
/// process's first thread.
const FILE: &str = "/proc/thread-self/net/netfilter/nfnetlink_queue";

/// A queue that a program has bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Number of the queue.
    pub queue: u16,
    /// Netlink port of the owner, mostly its process id.
    pub owner: u32,
    /// Packets that wait for a verdict.
    pub waiting: u32,
    /// Bytes of each packet that the owner gets.
    pub copy_bytes: u32,
    /// Packets dropped since the queue was bound because too many were waiting.
    pub dropped: u32,
    /// Packets dropped since then because the owner's receive buffer was full.
    pub dropped_to_user: u32,
    /// Number of the last packet.
    pub last_id: u32,
}

/// Reads the figures of all queues of this network namespace.
///
/// # Errors
/// What reading the file fails with; `NotFound` when the kernel has no packet queues,
/// `PermissionDenied` for an ordinary user whose network namespace was made before its user
/// namespace had its users: then the file belongs to the host's root.
pub fn read() -> io::Result<Vec<Status>> {
    fs::read_to_string(FILE).map(|text| parse(&text).collect())
}

/// Reads the text of the file. Lines that are not as expected are left out.
pub fn parse(text: &str) -> impl Iterator<Item = Status> + '_ {
    text.lines().filter_map(line)
}

/// queue, owner, waiting, copy mode, copy range, dropped, dropped to user, last id, 1
fn line(line: &str) -> Option<Status> {
    let mut words = line.split_ascii_whitespace();
    let queue = words.next()?.parse().ok()?;
    let mut number = || words.next()?.parse::<u32>().ok();
    let (owner, waiting, _copy_mode) = (number()?, number()?, number()?);
    let (copy_bytes, dropped, dropped_to_user) = (number()?, number()?, number()?);
    let last_id = number()?;
    Some(Status { queue, owner, waiting, copy_bytes, dropped, dropped_to_user, last_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        // cat /proc/net/netfilter/nfnetlink_queue, kernel 6.18
        let text = "    7  14012     3 2   256     4     5       10  1\n";
        let status = Status {
            queue: 7,
            owner: 14012,
            waiting: 3,
            copy_bytes: 256,
            dropped: 4,
            dropped_to_user: 5,
            last_id: 10,
        };
        assert_eq!(parse(text).collect::<Vec<_>>(), [status]);
    }

    #[test]
    fn owners_beyond_the_process_ids_and_columns_yet_unknown_are_read() {
        let text = "65535 4294967295 65536 2 65531 4294967295 1 4294967295 1 9 9\n";
        let status = parse(text).next().unwrap();
        assert_eq!((status.queue, status.owner, status.last_id), (u16::MAX, u32::MAX, u32::MAX));
    }

    #[test]
    fn lines_that_are_not_as_expected_are_left_out() {
        let text =
            "queue owner\n\n 1 2 3\n 65536 1 1 1 1 1 1 1 1\n 1 -2 3 4 5 6 7 8 1\n 2 2 2 2 2 2 2 2";
        assert_eq!(parse(text).map(|status| status.queue).collect::<Vec<_>>(), [2]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_left_out(text in "(?s).{0,300}") {
            prop_assert!(parse(&text).count() <= text.lines().count());
        }
    }
}
