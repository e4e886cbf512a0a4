//! The classic BPF programs that tell adverts from the rest, in the kernel.
//!
//! Goes in: a family, the VRIDs, which of the two kinds. Comes out: instructions
//! (`linux/filter.h`). Not here: attaching them.
//!
//! Data begins at the IPv4 header, and in IPv6 behind the header and its extensions; `SKF_NET_OFF`
//! reaches the network header in both.

use super::{Family, Kind};
use libc::sock_filter as Instruction;

/// `BPF_LD | BPF_B | BPF_ABS`: a byte at a fixed place.
const LOAD_BYTE: u16 = 0x30;
/// `BPF_LD | BPF_B | BPF_IND`: a byte at a place relative to X.
const LOAD_BYTE_AT_X: u16 = 0x50;
/// `BPF_LD | BPF_W | BPF_LEN`: the length.
const LOAD_LENGTH: u16 = 0x80;
/// `BPF_LDX | BPF_B | BPF_MSH`: four times the lower half of a byte, into X.
const LOAD_HEADER_LENGTH: u16 = 0xb1;
/// `BPF_LDX | BPF_W | BPF_IMM`: a number, into X.
const LOAD_X: u16 = 0x01;
/// `BPF_ALU | BPF_SUB | BPF_X`.
const SUBTRACT_X: u16 = 0x1c;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const IF_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGE | BPF_K`.
const IF_NOT_LESS: u16 = 0x35;
/// `BPF_RET | BPF_K`: how many bytes to keep.
const RETURN: u16 = 0x06;

/// `SKF_NET_OFF`, -0x100000.
const NETWORK_HEADER: u32 = 0xfff0_0000;
const TTL: u32 = NETWORK_HEADER + 8;
const HOP_LIMIT: u32 = NETWORK_HEADER + 7;

/// Version 3, type 1 (RFC 9568 5.2.1, 5.2.2).
const VERSION_AND_TYPE: u32 = 0x31;
/// Bytes of an advert before its addresses.
const ADVERT_HEADER: u32 = 8;
/// More than any packet has.
const ALL: u32 = 0x4_0000;

/// Takes no packet.
#[must_use]
pub(super) fn nothing() -> Vec<Instruction> {
    vec![step(RETURN, 0)]
}

/// The program of a kind.
#[must_use]
pub(super) fn program(family: Family, kind: Kind<'_>) -> Vec<Instruction> {
    let (vrids, advert, other) = match kind {
        Kind::Strict { vrids } => (vrids, ALL, 0),
        Kind::Odd { vrids } => (vrids, 0, ALL),
    };
    let mut program = Vec::with_capacity(16 + 2 * vrids.len());
    // Every test returns at once where it fails: jumps reach no further than 255 steps, which is
    // less than the VRIDs can take. The lengths are tested before bytes are loaded: a load beyond
    // the end would end the program and drop the packet for both kinds.
    let require = |program: &mut Vec<Instruction>, test: u16, value: u32| {
        program.push(Instruction { code: test, jt: 1, jf: 0, k: value });
        program.push(step(RETURN, other));
    };
    let (hop_limit, header_length) = match family {
        Family::V4 => (TTL, step(LOAD_HEADER_LENGTH, 0)),
        Family::V6 => (HOP_LIMIT, step(LOAD_X, 0)),
    };
    program.push(step(LOAD_BYTE, hop_limit));
    require(&mut program, IF_EQUAL, 255);
    program.push(header_length);
    program.push(step(LOAD_LENGTH, 0));
    program.push(step(SUBTRACT_X, 0));
    require(&mut program, IF_NOT_LESS, ADVERT_HEADER);
    program.push(step(LOAD_BYTE_AT_X, 0));
    require(&mut program, IF_EQUAL, VERSION_AND_TYPE);
    program.push(step(LOAD_BYTE_AT_X, 1));
    let mut sorted = vrids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    for vrid in sorted {
        program.push(Instruction { code: IF_EQUAL, jt: 0, jf: 1, k: vrid.into() });
        program.push(step(RETURN, advert));
    }
    program.push(step(RETURN, other));
    program
}

fn step(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs a program as the kernel would, on a packet that begins with its network header and
    /// whose data begin at `data`. `None` for a program that the kernel wouldn't take.
    fn run(program: &[Instruction], packet: &[u8], data: usize) -> Option<u32> {
        let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
        let byte = |offset: u32| {
            let place = match offset.checked_sub(NETWORK_HEADER) {
                Some(offset) => offset as usize,
                None => data + offset as usize,
            };
            packet.get(place).copied().map(u32::from)
        };
        loop {
            let Instruction { code, jt, jf, k } = *program.get(at)?;
            at += 1;
            let jump = |taken: bool| usize::from(if taken { jt } else { jf });
            match code {
                LOAD_BYTE | LOAD_BYTE_AT_X => {
                    let offset = if code == LOAD_BYTE { k } else { k.wrapping_add(x) };
                    match byte(offset) {
                        Some(value) => a = value,
                        None => return Some(0),
                    }
                }
                LOAD_LENGTH => a = (packet.len() - data) as u32,
                LOAD_HEADER_LENGTH => x = 4 * (byte(k)? & 15),
                LOAD_X => x = k,
                SUBTRACT_X => a = a.wrapping_sub(x),
                IF_EQUAL => at += jump(a == k),
                IF_NOT_LESS => at += jump(a >= k),
                RETURN => return Some(k),
                _ => return None,
            }
        }
    }

    /// What the documentation of [`Kind`] says.
    fn is_advert(hop_limit: u8, payload: &[u8], vrids: &[u8]) -> bool {
        hop_limit == 255 && payload.len() >= 8 && payload[0] == 0x31 && vrids.contains(&payload[1])
    }

    fn header(family: Family, hop_limit: u8, words: usize) -> Vec<u8> {
        match family {
            Family::V4 => {
                let mut header = vec![0; 4 * words];
                header[0] = 0x40 | words as u8;
                header[8] = hop_limit;
                header
            }
            Family::V6 => {
                // The words beyond five stand for extension headers.
                let mut header = vec![0x31; 40 + 8 * (words - 5)];
                header[7] = hop_limit;
                header
            }
        }
    }

    fn hop_limit() -> impl Strategy<Value = u8> {
        prop_oneof![3 => Just(255u8), 1 => any::<u8>()]
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        let start = (prop_oneof![3 => Just(0x31u8), 1 => any::<u8>()], any::<u8>());
        (start, proptest::collection::vec(any::<u8>(), 0..24), 0usize..26).prop_map(
            |((first, second), rest, length)| {
                let mut payload = vec![first, second];
                payload.extend(rest);
                payload.truncate(length);
                payload
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn each_packet_passes_exactly_one_of_the_two_filters(
            v4 in any::<bool>(),
            hop_limit in hop_limit(),
            words in 5usize..16,
            mut payload in payload(),
            vrids in proptest::collection::vec(any::<u8>(), 0..256),
            ours in any::<Option<proptest::sample::Index>>(),
        ) {
            let family = if v4 { Family::V4 } else { Family::V6 };
            if let (Some(index), Some(vrid), false) = (ours, payload.get_mut(1), vrids.is_empty()) {
                *vrid = vrids[index.index(vrids.len())];
            }
            let wanted = is_advert(hop_limit, &payload, &vrids);
            let mut packet = header(family, hop_limit, words);
            let data = if v4 { 0 } else { packet.len() };
            packet.extend(&payload);
            let strict = program(family, Kind::Strict { vrids: &vrids });
            let odd = program(family, Kind::Odd { vrids: &vrids });
            prop_assert_eq!(run(&strict, &packet, data), Some(if wanted { ALL } else { 0 }));
            prop_assert_eq!(run(&odd, &packet, data), Some(if wanted { 0 } else { ALL }));
        }
    }

    #[test]
    fn without_virtual_routers_everything_is_odd() {
        let mut packet = header(Family::V4, 255, 5);
        packet.extend([0x31, 1, 100, 1, 0, 100, 0, 0, 10, 0, 0, 1]);
        let strict = program(Family::V4, Kind::Strict { vrids: &[] });
        assert_eq!(run(&strict, &packet, 0), Some(0));
        assert_eq!(run(&nothing(), &packet, 0), Some(0));
    }
}
