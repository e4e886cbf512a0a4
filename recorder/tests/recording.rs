//! Recordings of a small machine, read back whole, cut off, damaged and with gaps.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde::{Deserialize, Serialize};
use std::time::Duration;
use twinwall_recorder::{Frame, Frames, Machine, Recorder, ReplayError, halves, parts, replay};

/// Adds up, and says the sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    sum: u64,
    padding: Vec<u8>,
}

impl Machine for Sum {
    const STREAM: u8 = 7;
    type Input = u64;
    type Output = u64;

    fn step(&mut self, now: Duration, input: u64, out: &mut Vec<u64>) {
        self.sum = self.sum.wrapping_add(input ^ now.as_nanos() as u64);
        out.push(self.sum);
    }
}

const SIZE: usize = 256 * 1024;

/// A file, and the machine at the end of so many inputs.
fn recorded(inputs: u64, mut at: impl FnMut(u64, &mut Recorder)) -> (Vec<u8>, Sum) {
    let (mut file, mut sum) = (vec![0; SIZE], Sum::default());
    let mut recorder = Recorder::new(SIZE, Recorder::next_number(&file));
    for input in 0..inputs {
        recorder.step(&mut sum, Duration::from_micros(input), input, &mut Vec::new());
        at(input, &mut recorder);
        for chunk in recorder.take() {
            let from = chunk.offset as usize;
            file[from..from + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
        }
    }
    (file, sum)
}

#[test]
fn the_last_inputs_run_again_and_end_in_the_same_state() {
    let (file, sum) = recorded(30_000, |_, _| {});
    let [elder, younger] = halves(&file);
    let mut inputs = 0;
    for half in [elder, younger] {
        let replayed = replay::<Sum>(half, |_, _, _| inputs += 1).unwrap();
        assert_eq!((replayed.differs_at, replayed.lost), (None, 0));
    }
    assert!(inputs > 5_000, "{inputs}");
    assert_eq!(replay::<Sum>(younger, |_, _, _| {}).unwrap().machine, sum);
}

#[test]
fn a_gap_is_told_and_the_recording_goes_on_behind_it() {
    let (file, sum) = recorded(3_000, |input, recorder| {
        if input == 1_500 {
            let lost = recorder.take().len();
            recorder.lose(lost as u64 + 40);
        }
    });
    let [elder, younger] = halves(&file);
    let before = replay::<Sum>(elder, |_, _, _| {}).unwrap();
    assert_eq!((before.inputs, before.lost), (1_500, 0));
    let behind = replay::<Sum>(younger, |_, _, _| {}).unwrap();
    assert_eq!((behind.inputs, behind.lost, behind.differs_at), (1_499, 41, None));
    assert_eq!(behind.machine, sum);
}

#[test]
fn a_digest_that_was_changed_is_found() {
    let (file, _) = recorded(100, |_, _| {});
    let [_, younger] = halves(&file);
    let frames = Frames::read(younger).unwrap();
    let (number, mut tampered) = (frames.number(), younger[..17].to_vec());
    for (place, frame) in frames.enumerate() {
        match frame {
            Frame::Step { outputs, input } if place == 51 => {
                Frame::Step { outputs: outputs ^ 1, input }.write(number, &mut tampered);
            }
            frame => frame.write(number, &mut tampered),
        }
    }
    assert_eq!(replay::<Sum>(&tampered, |_, _, _| {}).unwrap().differs_at, Some(50));
}

#[test]
fn a_file_that_is_cut_off_or_damaged_is_read_up_to_there() {
    let (file, _) = recorded(500, |_, _| {});
    let [_, younger] = halves(&file);
    let whole = replay::<Sum>(younger, |_, _, _| {}).unwrap().inputs;
    let mut last = 0;
    for len in (0..12_000).step_by(97) {
        let inputs = replay::<Sum>(&younger[..len], |_, _, _| {}).map_or(0, |end| end.inputs);
        assert!(inputs >= last && inputs <= whole);
        last = inputs;
        let mut bent = younger.to_vec();
        bent[len] ^= 0x10;
        let bent = replay::<Sum>(&bent, |_, _, _| {});
        assert!(bent.is_ok_and(|end| end.differs_at.is_none()) || len < 40, "byte {len}");
    }
}

#[test]
fn a_state_too_large_for_the_file_is_said() {
    let mut sum = Sum { sum: 0, padding: vec![1; SIZE] };
    let mut recorder = Recorder::new(SIZE, 1);
    recorder.step(&mut sum, Duration::ZERO, 1, &mut Vec::new());
    let bytes: Vec<u8> = recorder.take().into_iter().flat_map(|chunk| chunk.bytes).collect();
    assert_eq!(replay::<Sum>(&bytes, |_, _, _| {}).unwrap_err(), ReplayError::NoCheckpoint);
}

#[test]
fn a_recording_of_another_machine_is_refused() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Other;
    impl Machine for Other {
        const STREAM: u8 = 8;
        type Input = u64;
        type Output = u64;
        fn step(&mut self, _: Duration, _: u64, _: &mut Vec<u64>) {}
    }
    let (file, _) = recorded(10, |_, _| {});
    let [_, younger] = halves(&file);
    assert_eq!(replay::<Other>(younger, |_, _, _| {}).unwrap_err(), ReplayError::Stream(7));
}

#[test]
fn numbers_rise_over_starts_and_parts_do_not_overlap() {
    let (file, _) = recorded(30_000, |_, _| {});
    let [_, younger] = halves(&file);
    assert!(Recorder::next_number(&file) > Frames::read(younger).unwrap().number());
    for size in [0, 1, 4096, SIZE, SIZE + 3] {
        let [first, second] = parts(size);
        assert_eq!((first.start, first.end, second.end), (0, second.start, size));
    }
}
