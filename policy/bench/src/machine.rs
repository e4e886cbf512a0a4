//! The machine that figures are of: its processors, its clock.
//!
//! Goes in: nothing. Comes out: names, numbers, a thread bound to a processor. What can't be found
//! out is left out; no measurement fails for it.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

/// The processors that this process may use.
#[must_use]
pub fn cpus() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        Err(_) => (0..available_parallelism().map_or(1, usize::from)).collect(),
    }
}

/// Binds the calling thread, and those that it starts later, to a processor. Whether it worked.
pub fn pin(cpu: usize) -> bool {
    if cpu >= CpuSet::MAX_CPU {
        return false;
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).is_ok()
}

/// The processor, of those that this process may use, that did least for a tenth of a second: on
/// a machine that does other things too, figures of the others are of those things.
#[must_use]
pub fn idlest(cpus: &[usize]) -> usize {
    let before = busy_ticks();
    thread::sleep(Duration::from_millis(100));
    let after = busy_ticks();
    let busy = |cpu: usize| {
        let of = |ticks: &[(usize, u64)]| ticks.iter().find(|(n, _)| *n == cpu).map(|(_, t)| *t);
        of(&after).zip(of(&before)).map_or(u64::MAX, |(after, before)| after - before)
    };
    // The last of equals: interrupts tend to the first.
    cpus.iter().copied().rev().min_by_key(|cpu| busy(*cpu)).unwrap_or(0)
}

/// Ticks that each processor was not idle.
fn busy_ticks() -> Vec<(usize, u64)> {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let cpu = |line: &str| {
        let mut words = line.strip_prefix("cpu")?.split(' ');
        let number = words.next()?.parse().ok()?;
        // user nice system idle iowait irq softirq steal; guests are in user already.
        let ticks: Vec<u64> = words.take(8).filter_map(|word| word.parse().ok()).collect();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        Some((number, ticks.iter().sum::<u64>() - idle))
    };
    text.lines().filter_map(cpu).collect()
}

/// The processor time that the calling thread has had: unlike the clock's, it stands still while
/// others have the processor.
#[must_use]
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The processor's name, as the kernel has it.
#[must_use]
pub fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

/// The widest vector instructions that matter here, by their names.
#[must_use]
pub fn vectors() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512bw") {
            return "AVX-512";
        }
        if std::is_x86_feature_detected!("avx2") {
            return "AVX2";
        }
    }
    ""
}

/// What reading the clock twice takes when nothing is in between, the median of many times.
#[must_use]
pub fn clock_cost() -> Duration {
    let mut costs: Vec<Duration> = (0..10_001).map(|_| Instant::now().elapsed()).collect();
    costs.sort_unstable();
    costs.get(costs.len() / 2).copied().unwrap_or_default()
}
