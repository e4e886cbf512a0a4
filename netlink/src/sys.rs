//! The system calls that no library above offers, each behind a safe function.
//!
//! Not here: anything that interprets what it carries.
#![expect(unsafe_code, reason = "the one place for system calls")]

pub mod message;
pub mod mmsg;

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// The file descriptor of something that owns one, for as long as it is borrowed.
pub fn borrow(owner: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the owner keeps the descriptor open while it is borrowed.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// The same memory as bytes: netlink wants its buffers aligned like its headers.
pub fn as_bytes_mut(words: &mut [u32]) -> &mut [u8] {
    // SAFETY: any bit pattern is a valid u32 and a valid u8; the length in bytes is that of the
    // slice, and the lifetime is the same.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// The same memory as bytes.
#[must_use]
pub fn as_bytes(words: &[u32]) -> &[u8] {
    // SAFETY: as in `as_bytes_mut`.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

/// Sets the send buffer, beyond `wmem_max` if the process may; returns what the kernel gave.
///
/// # Errors
/// What `setsockopt` and `getsockopt` fail with.
pub fn set_send_buffer(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    set_buffer(fd, bytes, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)
}

/// Sets the receive buffer, beyond `rmem_max` if the process may; returns what the kernel gave.
///
/// # Errors
/// What `setsockopt` and `getsockopt` fail with.
pub fn set_receive_buffer(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    set_buffer(fd, bytes, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)
}

/// Joins a netlink multicast group.
///
/// # Errors
/// What `setsockopt` fails with.
pub fn netlink_join(fd: BorrowedFd<'_>, group: u32) -> io::Result<()> {
    let group = i32::try_from(group).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_option(fd, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)
}

/// Leaves a netlink multicast group.
///
/// # Errors
/// What `setsockopt` fails with.
pub fn netlink_leave(fd: BorrowedFd<'_>, group: u32) -> io::Result<()> {
    let group = i32::try_from(group).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_option(fd, libc::SOL_NETLINK, libc::NETLINK_DROP_MEMBERSHIP, group)
}

/// Sets how long a receive waits at most; rounded up to the kernel's tick, at least 1 us.
///
/// # Errors
/// What `setsockopt` fails with.
pub fn set_receive_timeout(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    // Zero would mean for ever. The kernel takes what is beyond its own range for that too.
    let timeout = timeout.max(Duration::from_micros(1));
    let value = libc::timeval {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: timeout.subsec_micros().into(),
    };
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const value).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Opens a socket that doesn't block and is closed on exec.
///
/// # Errors
/// What `socket` fails with.
pub fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes integers only.
    let fd = check(unsafe { libc::socket(domain, kind, protocol) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option whose value is bytes.
///
/// # Errors
/// What `setsockopt` fails with.
pub fn set_option_bytes(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), length) })
        .map(drop)
}

/// Puts a classic BPF program before the socket's queue, in place of the one before.
///
/// # Errors
/// What `setsockopt` fails with: `EINVAL` for a program that isn't one, or has more than 4,096
/// instructions.
pub fn attach_filter(fd: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the pointer and the length describe `program`, which names a slice and its length;
    // both outlive the call, which only reads them.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// How many datagrams the kernel dropped at this socket because its receive buffer was full. Wraps
/// at 2^32.
///
/// # Errors
/// What `getsockopt` fails with.
pub fn socket_drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    /// `SO_MEMINFO`; the same number on all architectures but PA-RISC and SPARC.
    const MEMINFO: i32 = 55;
    // `SK_MEMINFO_DROPS` is the last of `SK_MEMINFO_VARS` numbers.
    let mut values = [0u32; 9];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the pointers describe `values` and `length`, which outlive the call.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    let [.., drops] = values;
    Ok(drops)
}

/// Sets an integer socket option.
///
/// # Errors
/// What `setsockopt` fails with.
pub fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Waits until the descriptor can be read; false when the time is over first.
///
/// # Errors
/// What `poll` fails with, but for interruptions, which are waited over.
pub fn poll_readable(fd: BorrowedFd<'_>, deadline: Duration) -> io::Result<bool> {
    Ok(poll([fd], deadline)? != 0)
}

/// Waits until one of the descriptors can be read; returns a bit for each that can, 0 when the
/// time is over first.
///
/// # Errors
/// What `poll` fails with, but for interruptions, which are waited over.
pub fn poll<const N: usize>(fds: [BorrowedFd<'_>; N], deadline: Duration) -> io::Result<u32> {
    let mut polled =
        fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let end = Instant::now().checked_add(deadline);
    loop {
        let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        // Rounded up: a wait that ends early would be begun again and again.
        let millis = i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
        // SAFETY: the pointer and the count describe `polled`.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, millis) };
        match check(ready) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(polled
        .iter()
        .enumerate()
        .filter(|(_, p)| p.revents != 0)
        .fold(0, |bits, (i, _)| bits | 1 << i))
}

/// Waits until every processor has left the code that it ran in the kernel when this was called:
/// `membarrier(MEMBARRIER_CMD_GLOBAL)`, which takes 5 to 31 ms. Packets that were inside a chain
/// are through afterwards.
///
/// # Errors
/// What `membarrier` fails with.
pub fn membarrier() -> io::Result<()> {
    const GLOBAL: i32 = 1;
    // SAFETY: the call takes three integers and touches no memory of ours.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the calling thread the real-time policy `SCHED_RR` with this priority, 1 to 99.
///
/// # Errors
/// What `sched_setscheduler` fails with: `EPERM` without `CAP_SYS_NICE` or an `RLIMIT_RTPRIO` that
/// allows it.
pub fn set_realtime(priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the pointer is to `parameters`, which outlives the call; 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameters) }).map(drop)
}

/// Gives the calling thread the policy that threads have by default, `SCHED_OTHER`.
///
/// # Errors
/// What `sched_setscheduler` fails with.
pub fn set_normal() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to `parameters`, which outlives the call; 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameters) })
        .map(drop)
}

/// Has blocks of memory of at least so many bytes go back to the kernel as soon as they are freed.
/// Otherwise glibc moves that bound up to the largest block that was ever freed, 32 MiB at most, and
/// keeps what is below in the heap of each thread. See mallopt(3), `M_MMAP_THRESHOLD`; other
/// libraries do as they like. Says whether it could.
pub fn return_freed_blocks(bytes: usize) -> bool {
    #[cfg(target_env = "gnu")]
    {
        let Ok(bytes) = i32::try_from(bytes) else { return false };
        // SAFETY: the call takes two integers.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) == 1 }
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _ = bytes;
        false
    }
}

/// The name of an interface, or `None` when there is none with this index.
#[must_use]
pub fn interface_name(index: u32) -> Option<String> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the call asks for.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: on success the buffer holds a string with a closing zero.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    name.to_str().ok().map(str::to_owned)
}

fn set_buffer(fd: BorrowedFd<'_>, bytes: usize, forced: i32, plain: i32) -> io::Result<usize> {
    let wanted = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
    if set_option(fd, libc::SOL_SOCKET, forced, wanted).is_err() {
        set_option(fd, libc::SOL_SOCKET, plain, wanted)?;
    }
    get_option(fd.as_raw_fd(), libc::SOL_SOCKET, plain)
}

fn get_option(fd: RawFd, level: i32, name: i32) -> io::Result<usize> {
    let mut value: i32 = 0;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointers describe `value` and `length`, which outlive the call.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length) })?;
    usize::try_from(value).map_err(|_| io::ErrorKind::InvalidData.into())
}

pub(crate) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_time_priority_is_taken_or_refused() {
        let refused = |priority| set_realtime(priority).unwrap_err().raw_os_error();
        assert_eq!((refused(0), refused(100)), (Some(libc::EINVAL), Some(libc::EINVAL)));
        let policy = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // Behind the name the third field is the first; proc(5) counts the policy as 41.
            let mut fields = stat.rsplit(')').next().unwrap().split_whitespace();
            fields.nth(41 - 3).unwrap().parse::<i32>().unwrap()
        };
        let policy = std::thread::spawn(move || match set_realtime(1) {
            Ok(()) => {
                let urgent = policy();
                set_normal().unwrap();
                assert_eq!(policy(), libc::SCHED_OTHER);
                urgent
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EPERM));
                libc::SCHED_RR
            }
        });
        assert_eq!(policy.join().unwrap(), libc::SCHED_RR);
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn large_blocks_have_mappings_of_their_own_whatever_was_freed_before() {
        // Such a block begins behind a head of 16 bytes in the mapping's first page, and the mapping
        // goes with it.
        let own_mapping = |block: &[u8]| block.as_ptr().addr() % 4096 == 16;
        assert!(return_freed_blocks(1 << 20));
        for _ in 0..3 {
            // The largest block that was freed is what glibc would go by.
            drop(vec![1_u8; 24 << 20]);
            let blocks = [vec![1_u8; 16 << 20], vec![1_u8; 2 << 20]];
            assert!(
                blocks.iter().all(|block| own_mapping(block)),
                "{:?}",
                blocks.each_ref().map(|b| b.as_ptr())
            );
        }
    }
}
