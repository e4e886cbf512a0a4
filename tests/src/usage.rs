//! What a process has used, read from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

/// Units of processor time in `/proc/PID/stat` (`USER_HZ`): 100 to the second on all architectures
/// that Debian has.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of all threads of a process, also of those that have ended, the kernel's share
/// included.
///
/// # Errors
/// When there is no such process.
pub fn processor_time(pid: u32) -> io::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name may hold spaces; utime and stime are the twelfth and thirteenth after it.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let mut ticks = fields.skip(11).map_while(|word| word.parse::<u32>().ok());
    let (user, kernel) = ticks.next().zip(ticks.next()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(TICK * user.saturating_add(kernel))
}

/// Memory of a process that is there, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.ok_or(io::ErrorKind::InvalidData)? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_has_used_time_and_memory() {
        let pid = std::process::id();
        let before = processor_time(pid).unwrap();
        while processor_time(pid).unwrap() == before {}
        assert!(resident(pid).unwrap() > 100_000);
        assert!(processor_time(u32::MAX).is_err());
    }
}
