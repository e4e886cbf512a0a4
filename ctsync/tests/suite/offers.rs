//! What is promised of policies on the pair, one promise a test; and what a faulty peer can do.

use crate::sim::rng::Rng;
use std::sync::Arc;
use std::time::Duration;
use twinwall_ctsync::model::BootId;
use twinwall_ctsync::offer::{
    Delivery, LATEST, Local, OfferConfig, Offers, Outcome, PolicyDigest, PolicyVersion, Verdict,
    digest, stamp,
};
use twinwall_ctsync::time::Timestamp;
use twinwall_ctsync::wire::{Have, OfferMessage, PART, PARTS};

/// A node with nothing but its offers; what it sends arrives when the test says so.
struct Peer {
    offers: Offers,
    boot: BootId,
    sent: Vec<Vec<u8>>,
}

fn at(ms: u64) -> Timestamp {
    Timestamp::new(Duration::from_millis(1_000 + ms))
}

fn text(of: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(of);
    (0..len).map(|_| rng.next() as u8).collect()
}

fn local(stamp: u64, text: &[u8]) -> Local {
    Local {
        version: Some(PolicyVersion { stamp, digest: digest(text) }),
        text: Arc::from(text),
        generation: stamp,
        name: "edge".into(),
        trial: false,
        digest: None,
    }
}

impl Peer {
    fn new(boot: u64) -> Self {
        let config = OfferConfig { longest: 1 << 20, ..OfferConfig::default() };
        Self { offers: Offers::new(config), boot: BootId(boot), sent: Vec::new() }
    }

    fn poll(&mut self, ms: u64) {
        self.offers.poll(at(ms), &mut self.sent);
    }

    fn receive(&mut self, ms: u64, from: BootId, bytes: &[u8]) {
        assert!(self.offers.receive(at(ms), from, bytes, &mut self.sent));
    }
}

/// A pair that has met.
fn pair() -> [Peer; 2] {
    let [mut a, mut b] = [Peer::new(1), Peer::new(2)];
    a.offers.met(at(0), b.boot);
    b.offers.met(at(0), a.boot);
    [a, b]
}

/// Carries what both send, a millisecond a turn; `fate` says of each packet whether it arrives.
fn run(
    pair: &mut [Peer; 2],
    from: u64,
    until: u64,
    mut fate: impl FnMut(&[u8]) -> bool,
    mut decide: impl FnMut(usize, Delivery) -> Option<Verdict>,
) {
    for ms in from..until {
        for side in [0, 1] {
            pair[side].poll(ms);
            for packet in std::mem::take(&mut pair[side].sent) {
                if fate(&packet) {
                    let boot = pair[side].boot;
                    pair[1 - side].receive(ms, boot, &packet);
                }
            }
            if let Some(delivery) = pair[side].offers.take()
                && let Some(verdict) = decide(side, delivery)
            {
                pair[side].offers.decided(at(ms), verdict);
            }
        }
    }
}

fn verdict(version: PolicyVersion, outcome: Outcome) -> Verdict {
    Verdict { version, outcome, reason: String::new() }
}

#[test]
fn a_confirmed_policy_arrives_whole_through_loss_and_reordering() {
    let text = text(1, 300_007);
    for seed in 0..8 {
        let mut pair = pair();
        let mut rng = Rng::new(seed);
        pair[0].offers.set_local(at(0), local(50, &text));
        let mut arrived = None;
        let mut held: Vec<Vec<u8>> = Vec::new();
        for ms in 0..20_000 {
            for side in [0, 1] {
                pair[side].poll(ms);
                let mut sent = std::mem::take(&mut pair[side].sent);
                if side == 0 {
                    sent.append(&mut held);
                    if rng.chance(300) && sent.len() > 1 {
                        held = sent.split_off(sent.len() / 2);
                        sent.reverse();
                    }
                }
                for packet in sent {
                    if rng.chance(150) {
                        continue;
                    }
                    let boot = pair[side].boot;
                    for _ in 0..1 + u64::from(rng.chance(100)) {
                        pair[1 - side].receive(ms, boot, &packet);
                    }
                }
            }
            arrived = arrived.or_else(|| pair[1].offers.take());
            if arrived.is_some() {
                break;
            }
        }
        let delivery = arrived.unwrap();
        assert_eq!(delivery.text.as_deref(), Some(text.as_slice()), "seed {seed}");
        assert_eq!((delivery.version.stamp, delivery.name.as_str()), (50, "edge"));
    }
}

#[test]
fn the_newer_policy_wins_once_and_nothing_goes_back_and_forth() {
    let mut pair = pair();
    let texts = [text(1, 5_000), text(2, 9_000)];
    pair[0].offers.set_local(at(0), local(50, &texts[0]));
    pair[1].offers.set_local(at(0), local(51, &texts[1]));
    let mut taken = Vec::new();
    for ms in 0..3_000 {
        let mut loads: Vec<(usize, Delivery)> = Vec::new();
        run(
            &mut pair,
            ms,
            ms + 1,
            |_| true,
            |side, delivery| {
                let verdict = verdict(delivery.version, Outcome::Taken);
                loads.push((side, delivery));
                Some(verdict)
            },
        );
        for (side, delivery) in loads {
            let text = delivery.text.clone().unwrap();
            pair[side].offers.set_local(at(ms), local(delivery.version.stamp, &text));
            taken.push((side, delivery.version.stamp));
        }
    }
    assert_eq!(taken, [(0, 51)]);
    let [a, b] = [0, 1].map(|side| pair[side].offers.status());
    assert_eq!((a.version, b.version), (b.version, a.version));
    assert!(pair.iter().all(|peer| peer.offers.is_settled(at(3_000))));
    assert_eq!(b.theirs.unwrap().outcome, Outcome::Taken);
    // And then it is quiet.
    run(&mut pair, 3_000, 4_000, |_| panic!("something is said"), |_, _| panic!("an echo"));
}

#[test]
fn a_fetch_goes_on_after_a_cut_and_does_not_begin_anew() {
    let text = text(3, 400_000);
    let mut pair = pair();
    pair[0].offers.set_local(at(0), local(9, &text));
    run(&mut pair, 0, 15, |_| true, |_, _| panic!("too early"));
    let (before, size) = pair[1].offers.status().fetching.unwrap();
    assert!(before > 0 && before < size);
    run(&mut pair, 15, 3_000, |_| false, |_, _| None);
    assert_eq!(pair[1].offers.status().fetching, Some((before, size)));
    // The sender's daemon has been restarted meanwhile.
    pair[0] = Peer { boot: BootId(77), ..Peer::new(77) };
    pair[0].offers.set_local(at(3_000), local(9, &text));
    pair[0].offers.met(at(3_000), BootId(2));
    pair[1].offers.met(at(3_000), BootId(77));
    let mut bytes = 0;
    let mut whole = None;
    run(
        &mut pair,
        3_000,
        6_000,
        |packet| {
            bytes += packet.len();
            true
        },
        |_, delivery| {
            whole = delivery.text;
            Some(verdict(delivery.version, Outcome::Held))
        },
    );
    assert_eq!(whole.unwrap(), text);
    assert!(bytes < (size - before) as usize * 11 / 10 + 5_000, "{bytes} bytes for the rest");
}

#[test]
fn what_was_refused_or_is_held_is_not_fetched_again() {
    for outcome in [Outcome::Refused, Outcome::Held, Outcome::Waits] {
        let mut pair = pair();
        pair[0].offers.set_local(at(0), local(5, &text(4, 10_000)));
        let mut offered = 0;
        run(
            &mut pair,
            0,
            2_000,
            |_| true,
            |side, delivery| {
                assert_eq!(side, 1);
                offered += 1;
                Some(Verdict { reason: "no zone dmz".into(), ..verdict(delivery.version, outcome) })
            },
        );
        assert_eq!(offered, 1);
        let told = pair[0].offers.status().theirs.unwrap();
        assert_eq!((told.outcome, told.reason.as_str()), (outcome, "no zone dmz"));
        // The next one is another matter.
        pair[0].offers.set_local(at(2_000), local(6, &text(5, 10)));
        run(
            &mut pair,
            2_000,
            2_500,
            |_| true,
            |_, delivery| {
                offered += 1;
                Some(verdict(delivery.version, Outcome::Taken))
            },
        );
        assert_eq!(offered, 2);
    }
}

#[test]
fn the_same_text_confirmed_later_is_not_sent_again() {
    let mut pair = pair();
    let text = text(6, 50_000);
    pair[0].offers.set_local(at(0), local(20, &text));
    pair[1].offers.set_local(at(0), local(10, &text));
    let mut delivered = Vec::new();
    let mut bytes = 0;
    run(
        &mut pair,
        0,
        1_000,
        |packet| {
            bytes += packet.len();
            true
        },
        |side, delivery| {
            let verdict = verdict(delivery.version, Outcome::Taken);
            delivered.push((side, delivery));
            Some(verdict)
        },
    );
    let [(1, delivery)] = &delivered[..] else { panic!("{delivered:?}") };
    assert_eq!((delivery.version.stamp, &delivery.text), (20, &None));
    assert!(bytes < 5_000, "{bytes}");
}

#[test]
fn nobody_offers_what_nobody_confirmed() {
    let mut pair = pair();
    for (side, byte) in [(0, 1), (1, 2)] {
        let unconfirmed = Local { version: None, ..local(1, &[byte]) };
        pair[side].offers.set_local(at(0), unconfirmed);
    }
    run(&mut pair, 0, 1_000, |_| true, |_, delivery| panic!("{delivery:?}"));
    assert!(pair.iter().all(|peer| peer.offers.is_settled(at(1_000))));
}

#[test]
fn a_stamp_is_later_than_all_that_are_known_whatever_the_clock_says() {
    assert_eq!(stamp(1_000, [5, 7]), 1_000);
    assert_eq!(stamp(1_000, [5_000, 7]), 5_001);
    assert_eq!(stamp(0, []), 1);
    assert_eq!(stamp(u64::MAX, [u64::MAX]), LATEST);
}

fn have(number: u64, stamp: u64, size: u64) -> Vec<u8> {
    let version = PolicyVersion { stamp, digest: PolicyDigest([stamp as u8; 32]) };
    let have = Have { ask: true, number, version: Some(version), size, ..Have::default() };
    OfferMessage::Have(have).to_packet()
}

#[test]
fn an_offer_that_is_too_large_is_refused_without_a_fetch() {
    let mut node = Peer::new(1);
    node.offers.met(at(0), BootId(2));
    for (number, size) in [(1, (1 << 20) + 1), (2, u64::MAX), (3, 0)] {
        node.receive(1, BootId(2), &have(number, number, size));
        node.poll(100 * number);
        let ours = node.offers.status().ours.unwrap();
        assert_eq!((ours.outcome, ours.version.stamp), (Outcome::Refused, number));
        assert!(ours.reason.contains("too long"), "{}", ours.reason);
        assert_eq!(node.offers.memory(), 0);
    }
}

#[test]
fn a_text_that_is_not_the_announced_one_is_refused_after_some_tries() {
    let mut node = Peer::new(1);
    node.offers.met(at(0), BootId(2));
    let size = 3 * PART as u64 + 5;
    node.receive(0, BootId(2), &have(1, 9, size));
    let digest = PolicyDigest([9; 32]);
    let mut rounds = 0;
    for ms in 1..5_000 {
        node.poll(ms);
        let asked = std::mem::take(&mut node.sent).into_iter().any(|packet| {
            matches!(OfferMessage::read(&packet), Ok(Some(OfferMessage::Ask { .. })))
        });
        if !asked {
            continue;
        }
        rounds += 1;
        for offset in (0..size).step_by(PART) {
            let bytes = vec![1; PART.min((size - offset) as usize)];
            let part = OfferMessage::Part { digest, offset, bytes: &bytes }.to_packet();
            node.receive(ms, BootId(2), &part);
        }
    }
    assert_eq!(rounds, 3);
    assert_eq!(node.offers.status().ours.unwrap().outcome, Outcome::Refused);
    assert_eq!((node.offers.take(), node.offers.memory()), (None, 0));
}

#[test]
fn parts_out_of_range_are_not_kept() {
    let mut node = Peer::new(1);
    node.offers.met(at(0), BootId(2));
    node.receive(0, BootId(2), &have(1, 9, 1 << 20));
    node.poll(1);
    let digest = PolicyDigest([9; 32]);
    let window = (PARTS * PART) as u64;
    let odd: [(u64, usize); 6] = [
        (1, PART),
        (PART as u64, PART - 1),
        (window, PART),
        (1 << 20, PART),
        (u64::MAX - 1023, PART),
        (PART as u64, 0),
    ];
    for (offset, len) in odd {
        let bytes = vec![7; len];
        node.receive(
            1,
            BootId(2),
            &OfferMessage::Part { digest, offset, bytes: &bytes }.to_packet(),
        );
    }
    assert_eq!((node.offers.status().odd, node.offers.memory()), (6, 0));
    assert_eq!(node.offers.status().fetching, Some((0, 1 << 20)));
}

#[test]
fn offers_without_end_take_bounded_memory() {
    let mut node = Peer::new(1);
    node.offers.met(at(0), BootId(2));
    let mut rng = Rng::new(3);
    let mut worst = 0;
    for number in 1..20_000u64 {
        node.receive(number, BootId(2), &have(number, number, 1 << 20));
        let digest = PolicyDigest([number as u8; 32]);
        for _ in 0..40 {
            let offset = rng.below(1_200) * PART as u64;
            let part = OfferMessage::Part { digest, offset, bytes: &[5; PART] }.to_packet();
            node.receive(number, BootId(2), &part);
        }
        node.poll(number);
        assert!(node.sent.len() <= 4, "{} packets for one", node.sent.len());
        node.sent.clear();
        worst = worst.max(node.offers.memory());
    }
    assert!(worst <= (1 << 20) + 2 * PARTS * PART, "{worst} bytes");
}

#[test]
fn questions_are_answered_no_faster_than_the_rate_allows() {
    let mut node = Peer::new(1);
    let text = text(1, 200_000);
    node.offers.set_local(at(0), local(5, &text));
    node.offers.met(at(0), BootId(2));
    let mut parts = 0;
    for round in 0..10_000u64 {
        let ask = OfferMessage::Ask { digest: digest(&text), offset: 0, wanted: u32::MAX };
        // All within 100 ms.
        node.receive(round / 100, BootId(2), &ask.to_packet());
        parts += std::mem::take(&mut node.sent).len();
    }
    assert!(parts <= 11 * 200, "{parts} parts in 100 ms at 10,000 a second");
    // Offsets beyond the end, and texts that it doesn't have.
    for (digest, offset) in [(digest(&text), u64::MAX), (PolicyDigest([1; 32]), 0)] {
        let ask = OfferMessage::Ask { digest, offset, wanted: u32::MAX };
        node.receive(5_000, BootId(2), &ask.to_packet());
    }
    assert!(node.sent.is_empty());
}

#[test]
fn a_run_of_the_peer_that_was_not_greeted_is_not_listened_to() {
    let mut node = Peer::new(1);
    node.offers.met(at(0), BootId(2));
    node.receive(0, BootId(3), &have(1, 9, 1 << 10));
    assert!(!node.offers.status().known);
    assert_eq!(node.offers.status().version, None);
}
