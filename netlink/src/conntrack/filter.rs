//! Classic BPF programs that leave out notifications in the kernel.
//!
//! Goes in: what isn't wanted. Comes out: a program for a socket that hears of sessions. It sees a
//! netlink message from its header on. Not here: attaching it.

use super::session::{self, Status};
use super::{MSG_NEW, tuple};
use crate::wire::NFGENMSG;
use libc::{BPF_ABS, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX};
use libc::{BPF_JSET, BPF_MISC, BPF_RET, BPF_TAX, BPF_W, sock_filter};

/// Most ports that can be left out at once.
pub(super) const PORTS: usize = 16;

/// Where `nlmsg_type`, `nlmsg_pid` and the attributes are.
const TYPE: u32 = 4;
const PORT: u32 = 12;
const ATTRIBUTES: u32 = 16 + NFGENMSG as u32;

/// `SKF_AD_OFF` plus `SKF_AD_NLATTR` and `SKF_AD_NLATTR_NEST`: where the attribute is whose type is
/// in X, searched from A on, or in the one at A; 0 if there is none.
const FIND: u32 = (-0x1000i32 + 12) as u32;
const FIND_INSIDE: u32 = (-0x1000i32 + 16) as u32;
/// Where in an attribute its content is.
const CONTENT: u32 = 4;

const TCP: u32 = 6;

/// What a step does when its comparison holds.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Next,
    Take,
    Drop,
}

/// An instruction, and where to go if it is a comparison that holds or doesn't.
struct Step {
    code: u32,
    value: u32,
    yes: Then,
    no: Then,
}

/// Leaves out what has one of these ports, and what is said of TCP sessions before they are
/// assured, which the kernel makes them with the last packet of the handshake.
pub(super) fn program(ports: &[u32], handshakes: bool) -> Vec<sock_filter> {
    let mut steps = vec![load(BPF_W, PORT)];
    // What is loaded is taken for network byte order, and these are in that of the host.
    let ports = ports.iter().map(|port| u32::from_be_bytes(port.to_ne_bytes()));
    steps.extend(ports.map(|port| compare(port, Then::Drop, Then::Next)));
    if handshakes {
        steps.push(load(BPF_H, TYPE));
        let new = u16::from_be_bytes(MSG_NEW.to_ne_bytes());
        steps.push(compare(new.into(), Then::Next, Then::Take));
        for rare in [session::LABELS, session::TUPLE_MASTER, session::SYNPROXY] {
            steps.extend(find(rare, FIND));
            steps.push(compare(0, Then::Next, Then::Take));
        }
        steps.extend(find(session::STATUS, FIND));
        steps.push(compare(0, Then::Take, Then::Next));
        steps.push(plain(BPF_MISC | BPF_TAX, 0));
        steps.push(plain(BPF_LD | BPF_W | BPF_IND, CONTENT));
        let assured = Status::ASSURED.0;
        steps.push(Step {
            code: BPF_JMP | BPF_JSET | BPF_K,
            ..compare(assured, Then::Take, Then::Next)
        });
        steps.extend(find(session::TUPLE_ORIG, FIND));
        for kind in [tuple::TUPLE_PROTO, tuple::PROTO_NUM] {
            let [_, kind, inside] = find(kind, FIND_INSIDE);
            steps.extend([kind, inside]);
        }
        steps.push(plain(BPF_MISC | BPF_TAX, 0));
        steps.push(plain(BPF_LD | BPF_B | BPF_IND, CONTENT));
        steps.push(compare(TCP, Then::Drop, Then::Take));
    }
    assemble(&steps)
}

fn plain(code: u32, value: u32) -> Step {
    Step { code, value, yes: Then::Next, no: Then::Next }
}

fn load(size: u32, at: u32) -> Step {
    plain(BPF_LD | size | BPF_ABS, at)
}

fn compare(value: u32, yes: Then, no: Then) -> Step {
    Step { code: BPF_JMP | BPF_JEQ | BPF_K, value, yes, no }
}

/// Searches all attributes, or without its first step those inside of the one at A.
fn find(kind: u16, how: u32) -> [Step; 3] {
    [plain(BPF_LD | BPF_IMM, ATTRIBUTES), plain(BPF_LDX | BPF_IMM, kind.into()), load(BPF_W, how)]
}

/// Puts the two ends behind the steps, and the distances to them into the jumps.
fn assemble(steps: &[Step]) -> Vec<sock_filter> {
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    let mut program = Vec::with_capacity(steps.len() + 2);
    for (step, behind) in steps.iter().zip((0..steps.len()).rev()) {
        // There are fewer than 60 steps.
        let behind = u8::try_from(behind).unwrap_or_default();
        let distance = |then| match then {
            Then::Next => 0,
            Then::Take => behind,
            Then::Drop => behind + 1,
        };
        program.push(instruction(step.code, distance(step.yes), distance(step.no), step.value));
    }
    program.push(instruction(BPF_RET | BPF_K, 0, 0, u32::MAX));
    program.push(instruction(BPF_RET | BPF_K, 0, 0, 0));
    program
}
