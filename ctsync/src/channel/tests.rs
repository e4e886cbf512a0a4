//! Claims about the channel.

use super::*;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn key(byte: u8) -> Key {
    let mut psk = [byte; 32];
    psk[0] = 0xa5;
    Key::new(psk)
}

fn channel(node: NodeId, keys: KeyRing, boot: u64) -> Channel {
    let peer = if node == A { B } else { A };
    let greeting =
        Greeting { node, boot: BootId(boot), met: false, digest_key: [1, 2], keyspace: 3 };
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&boot.to_le_bytes());
    Channel::new(ChannelConfig::new(node, peer), keys, greeting, seed)
}

fn ms(ms: u64) -> Timestamp {
    Timestamp::new(Duration::from_millis(ms))
}

/// Lets A poll once and delivers everything until nothing comes any more. Returns all datagrams
/// and greetings.
fn shake(a: &mut Channel, b: &mut Channel, now: Timestamp) -> (Vec<Vec<u8>>, Vec<Greeting>) {
    let (mut datagrams, mut greetings) = (Vec::new(), Vec::new());
    let mut out = Vec::new();
    a.poll(now, &mut out);
    let mut from_a = true;
    while !out.is_empty() {
        let mut next = Vec::new();
        for output in out {
            match output {
                ChannelOutput::Send(bytes) => {
                    let to = if from_a { &mut *b } else { &mut *a };
                    let _ = to.receive(now, &bytes, &mut next);
                    datagrams.push(bytes);
                }
                ChannelOutput::Up(greeting) => greetings.push(greeting),
            }
        }
        out = next;
        from_a = !from_a;
    }
    (datagrams, greetings)
}

fn pair() -> (Channel, Channel) {
    let ring = KeyRing::single(key(1));
    (channel(A, ring.clone(), 10), channel(B, ring, 20))
}

fn pass(from: &mut Channel, to: &mut Channel, now: Timestamp, text: &[u8]) -> bool {
    let sealed = from.seal(text).unwrap();
    let mut out = Vec::new();
    to.receive(now, &sealed, &mut out).is_ok_and(|opened| opened.unwrap().plaintext == text)
}

#[test]
fn nodes_with_the_same_key_meet_and_talk_both_ways() {
    let (mut a, mut b) = pair();
    let (_, greetings) = shake(&mut a, &mut b, ms(0));
    assert_eq!(greetings.iter().map(|g| g.boot.0).collect::<Vec<_>>(), [20]);
    assert!(a.is_up() && !b.is_up(), "B waits for the first datagram");
    let sealed = a.seal(b"hello").unwrap();
    assert_eq!(sealed.len(), 5 + OVERHEAD);
    let mut out = Vec::new();
    let opened = b.receive(ms(0), &sealed, &mut out).unwrap().unwrap();
    assert_eq!((opened.boot.0, opened.plaintext.as_slice()), (10, &b"hello"[..]));
    assert!(matches!(out[..], [ChannelOutput::Up(Greeting { boot: BootId(10), .. })]));
    assert!(pass(&mut b, &mut a, ms(0), b"hello yourself"));
}

#[test]
fn a_datagram_is_taken_once_and_only_as_it_was_sealed() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b, ms(0));
    let sealed = a.seal(b"once").unwrap();
    let mut out = Vec::new();
    for at in 0..sealed.len() {
        let mut bent = sealed.clone();
        bent[at] ^= 1;
        assert!(b.receive(ms(0), &bent, &mut out).is_err(), "byte {at}");
    }
    assert!(b.receive(ms(0), &sealed, &mut out).is_ok());
    assert_eq!(b.receive(ms(0), &sealed, &mut out), Err(Refusal::Repeated));
}

#[test]
fn another_key_gets_no_answer() {
    let mut a = channel(A, KeyRing::single(key(2)), 10);
    let (_, mut b) = pair();
    let (datagrams, _) = shake(&mut a, &mut b, ms(0));
    assert_eq!(datagrams.len(), 1, "nothing but the knock");
    assert_eq!(b.refusals().of(Refusal::Key), 1);
}

#[test]
fn a_recorded_handshake_gets_nothing_but_challenges() {
    let (mut a, mut b) = pair();
    let (recorded, _) = shake(&mut a, &mut b, ms(0));
    assert!(pass(&mut a, &mut b, ms(0), b"confirmed"));
    for datagram in &recorded {
        let mut out = Vec::new();
        let _ = b.receive(ms(1), datagram, &mut out);
        let _ = a.receive(ms(1), datagram, &mut out);
        for output in out {
            let ChannelOutput::Send(answer) = output else { panic!("{output:?}") };
            assert_eq!(answer[0], 2, "only challenges");
        }
    }
    assert_eq!(b.refusals().of(Refusal::Cookie), 1);
    // A restarted node doesn't take its own recording either.
    let mut fresh = channel(B, KeyRing::single(key(1)), 21);
    for datagram in &recorded {
        let mut out = Vec::new();
        let _ = fresh.receive(ms(1), datagram, &mut out);
    }
    assert!(!fresh.is_up());
    assert_eq!(fresh.refusals().of(Refusal::Cookie), 1);
}

#[test]
fn keys_are_renewed_and_no_datagram_is_lost() {
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b, ms(0));
    assert!(pass(&mut a, &mut b, ms(0), b"x"));
    for step in 1..5u64 {
        let now = ms(step * 121_000);
        // What was sealed before arrives after.
        let late = b.seal(b"late").unwrap();
        assert!(pass(&mut b, &mut a, now, b"heard"));
        let (datagrams, _) = shake(&mut a, &mut b, now);
        assert_eq!(datagrams.len(), 4, "a handshake");
        let mut out = Vec::new();
        assert!(a.receive(now, &late, &mut out).is_ok());
        assert!(pass(&mut b, &mut a, now, b"old keys until it is confirmed"));
        assert!(pass(&mut a, &mut b, now, b"new keys"));
        assert!(pass(&mut b, &mut a, now, b"new keys"));
    }
}

#[test]
fn a_pre_shared_key_is_changed_without_a_gap() {
    let both = |first: u8, second: u8| KeyRing::new(vec![key(first), key(second)]).unwrap();
    let (mut a, mut b) = pair();
    shake(&mut a, &mut b, ms(0));
    let steps: [(&str, KeyRing); 6] = [
        ("b", both(1, 9)),
        ("a", both(1, 9)),
        ("b", both(9, 1)),
        ("a", both(9, 1)),
        ("a", KeyRing::single(key(9))),
        ("b", KeyRing::single(key(9))),
    ];
    let mut now = 0;
    for (node, ring) in steps {
        if node == "a" {
            a.set_keys(ring)
        } else {
            b.set_keys(ring)
        }
        for _ in 0..3 {
            now += 100;
            assert!(pass(&mut a, &mut b, ms(now), b"x") && pass(&mut b, &mut a, ms(now), b"y"));
            shake(&mut a, &mut b, ms(now));
            assert!(pass(&mut a, &mut b, ms(now), b"x") && pass(&mut b, &mut a, ms(now), b"y"));
        }
    }
    assert!(a.sessions.current().unwrap().key() == &key(9));
}

#[test]
fn a_node_that_meets_itself_is_refused() {
    let (mut a, _) = pair();
    let mut twin = channel(NodeId(7), KeyRing::single(key(1)), 30);
    shake(&mut a, &mut twin, ms(0));
    assert!(!a.is_up());
}

#[test]
fn handshakes_are_limited_in_number() {
    let (mut a, mut b) = pair();
    for _ in 0..100 {
        let mut out = Vec::new();
        let Side::Initiator(initiator) = &mut a.side else { panic!() };
        let knock = initiator.knock(ms(0), &a.config, &a.keys, &mut a.entropy);
        b.receive(ms(0), &knock, &mut out).unwrap();
        let Some(ChannelOutput::Send(challenge)) = out.pop() else { panic!() };
        a.receive(ms(0), &challenge, &mut out).unwrap();
        let Some(ChannelOutput::Send(init)) = out.pop() else { panic!() };
        let _ = b.receive(ms(0), &init, &mut out);
    }
    assert_eq!(b.refusals().of(Refusal::Busy), 80);
}

#[test]
fn a_key_file_has_one_to_four_keys_and_nothing_else() {
    let line = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    assert_eq!(KeyRing::parse(&format!("# new\n{line}\n\n{line} # old\n")).unwrap().len(), 2);
    assert_eq!(KeyRing::parse("# nothing\n"), Err(KeyRingError::Empty));
    assert_eq!(KeyRing::parse("secret\n"), Err(KeyRingError::Line { line: 1 }));
    assert_eq!(KeyRing::parse(&"0".repeat(64)), Err(KeyRingError::Weak { line: 1 }));
    assert_eq!(KeyRing::parse(&format!("{line}\n").repeat(5)), Err(KeyRingError::TooMany));
}
