//! The answers that engines are held to: the first rule, from the top, that matches.
//!
//! Headers are shared out to threads. A thread takes a block of rules after the other, and in it
//! each header that has no answer yet, so that rules come from the cache. Before rules are compared
//! field by field, 32 bits of each address are, of a few rules at a time and without a branch:
//! a loop that compilers turn into vector instructions. What differs there can't match.
//!
//! Goes in: rules, headers. Comes out: the place of the first match of each header.

use crate::model::{Networks, Rule};
use crate::subjects::NONE;
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::thread;
use twinwall_policy::flow::Flow;
use twinwall_policy::prefix::{Prefix, Word};

/// Rules in a [`Sieve`].
const LANES: usize = 32;
/// Rules in a block: their sieves take 32 KB, what the first cache of most processors holds.
const BLOCK: usize = LANES * 64;

/// The answers for these headers, [`NONE`] where no rule matches, from `threads` threads.
#[must_use]
pub fn answers(rules: &[Rule], headers: &[Flow], threads: usize) -> Vec<u32> {
    let sieves: Vec<Sieve> = rules.chunks(LANES).map(Sieve::new).collect();
    let mut answers = vec![NONE; headers.len()];
    let share = headers.len().div_ceil(threads.max(1)).max(1);
    thread::scope(|scope| {
        let parts = headers.chunks(share).zip(answers.chunks_mut(share));
        let sieves = &sieves;
        let workers: Vec<_> = parts
            .map(|(headers, answers)| scope.spawn(|| scan(rules, sieves, headers, answers)))
            .collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                resume_unwind(panic);
            }
        }
    });
    answers
}

fn scan(rules: &[Rule], sieves: &[Sieve], headers: &[Flow], answers: &mut [u32]) {
    let mut open: Vec<(usize, [u32; 2])> = headers.iter().map(sample).enumerate().collect();
    let blocks = rules.chunks(BLOCK).zip(sieves.chunks(BLOCK / LANES));
    for (start, (rules, sieves)) in (0u32..).step_by(BLOCK).zip(blocks) {
        open.retain(|(place, sample)| {
            let (Some(header), Some(answer)) = (headers.get(*place), answers.get_mut(*place))
            else {
                return false;
            };
            let groups = (start..).step_by(LANES).zip(rules.chunks(LANES)).zip(sieves);
            for ((start, rules), sieve) in groups {
                if !sieve.passes_any(*sample) {
                    continue;
                }
                if let Some(place) = rules.iter().position(|rule| rule.matches(header)) {
                    *answer = start + place as u32;
                    return false;
                }
            }
            true
        });
    }
}

/// Some bits of the addresses that each of a few rules fixes.
#[derive(Clone, Copy, Debug)]
struct Sieve {
    src: [u32; LANES],
    src_mask: [u32; LANES],
    dst: [u32; LANES],
    dst_mask: [u32; LANES],
}

impl Sieve {
    /// Of up to [`LANES`] rules. What stands for missing ones may pass; it can't be found.
    fn new(rules: &[Rule]) -> Self {
        let none = [0; LANES];
        let mut sieve = Self { src: none, src_mask: none, dst: none, dst_mask: none };
        let src = sieve.src.iter_mut().zip(&mut sieve.src_mask);
        let dst = sieve.dst.iter_mut().zip(&mut sieve.dst_mask);
        for ((rule, src), dst) in rules.iter().zip(src).zip(dst) {
            let (from, to) = match rule.networks {
                Networks::V4 { src, dst } => (bits(src, |bits| bits), bits(dst, |bits| bits)),
                Networks::V6 { src, dst } => (bits(src, middle), bits(dst, middle)),
            };
            (*src.0, *src.1) = from;
            (*dst.0, *dst.1) = to;
        }
        sieve
    }

    #[inline]
    fn passes_any(&self, [src, dst]: [u32; 2]) -> bool {
        let srcs = self.src.iter().zip(&self.src_mask);
        let dsts = self.dst.iter().zip(&self.dst_mask);
        let mut any = 0;
        for ((src_bits, src_mask), (dst_bits, dst_mask)) in srcs.zip(dsts) {
            let differ = (src & src_mask ^ src_bits) | (dst & dst_mask ^ dst_bits);
            any |= u32::from(differ == 0);
        }
        any != 0
    }
}

/// The part of a network that a sieve looks at, and its mask.
fn bits<T: Word>(network: Prefix<T>, part: impl Fn(T) -> u32) -> (u32, u32) {
    (part(network.bits), part(T::mask(network.len)))
}

/// The bits of a header that sieves look at.
fn sample(header: &Flow) -> [u32; 2] {
    match (header.tuple.src, header.tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => [src.to_bits(), dst.to_bits()],
        (IpAddr::V6(src), IpAddr::V6(dst)) => [middle(src.to_bits()), middle(dst.to_bits())],
        // Matches nothing, and is told so by the rules.
        _ => [0; 2],
    }
}

/// The 32 bits of an IPv6 address in which sites and subnets differ.
fn middle(address: u128) -> u32 {
    (address >> 76) as u32
}
