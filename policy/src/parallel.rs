//! Work spread over a few threads that end before the call returns.

use std::panic::resume_unwind;
use std::thread;

/// Does each job on a thread of its own, the first one on the caller's; all of them there when
/// `threads` is 1. Results are in the order of the jobs.
pub(crate) fn run<T: Send, R: Send>(
    jobs: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    if threads < 2 || jobs.len() < 2 {
        return jobs.into_iter().map(work).collect();
    }
    let work = &work;
    thread::scope(|scope| {
        let mut jobs = jobs.into_iter();
        let first = jobs.next();
        let others: Vec<_> = jobs.map(|job| scope.spawn(move || work(job))).collect();
        let mut results: Vec<R> = first.map(work).into_iter().collect();
        results.extend(others.into_iter().map(|other| match other.join() {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }));
        results
    })
}

/// Cuts the items into one run for each of up to `threads` threads, with at least `least` items in
/// each but the last.
pub(crate) fn chunks<T>(items: &[T], threads: usize, least: usize) -> Vec<&[T]> {
    let size = items.len().div_ceil(threads.max(1)).max(least).max(1);
    items.chunks(size).collect()
}
