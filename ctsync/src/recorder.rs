//! The replica as a machine that the flight recorder records and runs again.
//!
//! Neither keys nor random numbers are recorded, but addresses and ports of sessions are.
//!
//! Goes in: a recording. Comes out: the replica as it was. Not here: how recordings are written and
//! read (crate twinwall-recorder).

use crate::replica::{Input, Output, Replica};
use crate::time::Timestamp;
use std::time::Duration;
use twinwall_recorder::Machine;

impl Machine for Replica {
    const STREAM: u8 = 0;
    type Input = Input;
    type Output = Output;

    fn least_size(&self) -> usize {
        self.least_frozen()
    }

    fn step(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        self.handle(Timestamp::new(now), input, out);
    }
}
