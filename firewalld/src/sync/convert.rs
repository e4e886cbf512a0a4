//! Sessions as the kernel says them, and as they are replicated.
//!
//! Goes in: entries and expectations of ctnetlink. Comes out: deltas of crate twinwall-ctsync, and
//! back again for writing. Not here: which ones.

use twinwall_ctsync::model::{
    Delta, Direction, Expectation, Layer4, Proto, SeqAdjust, Session, Status, SynProxy, Tcp,
    TcpState, Tuple, Zone,
};
use twinwall_netlink::conntrack as kernel;

/// What the kernel says of a session.
pub(super) fn delta(entry: &kernel::Entry) -> Delta {
    let mut delta = Delta::new(tuple(&entry.original));
    delta.zone = zone(entry);
    delta.reply = entry.reply.as_ref().map(tuple);
    delta.status = entry.status.map(|status| Status(status.0).replicated());
    delta.proto = entry.proto.map(proto);
    delta.timeout = entry.timeout;
    delta.mark = entry.mark;
    delta.labels = entry.labels;
    delta.helper.clone_from(&entry.helper);
    delta.master = entry.master.as_ref().map(tuple);
    delta.seq_adjust = entry.seq_adjust.map(|both| {
        both.map(|kernel::SeqAdjust { position, before, after }| SeqAdjust {
            position,
            before,
            after,
        })
    });
    delta.syn_proxy =
        entry.syn_proxy.map(|kernel::SynProxy { isn, its, offset }| SynProxy { isn, its, offset });
    delta
}

/// What the kernel says of an expectation.
pub(super) fn expected(expectation: &kernel::Expectation) -> Delta {
    let original = tuple(&expectation.tuple);
    let mut delta = Delta::new(original);
    delta.zone = Zone { id: expectation.zone, direction: Direction::Both };
    delta.reply = Some(original.inverse());
    delta.timeout = expectation.timeout;
    delta.helper.clone_from(&expectation.helper);
    delta.master = Some(tuple(&expectation.master));
    delta.expectation = Some(Box::new(Expectation {
        mask: tuple(&expectation.mask),
        flags: expectation.flags,
        class: expectation.class,
        nat: expectation.nat.map(|nat| (nat.direction, tuple(&nat.tuple))),
        function: expectation.function.clone(),
    }));
    delta
}

/// The original direction of a session, and the zone of both directions: what the kernel finds it by.
pub(super) fn address(session: &Session) -> (kernel::Tuple, u16) {
    let (original, both) = match session.zone.direction {
        Direction::Both => (None, session.zone.id),
        Direction::Original => (Some(session.zone.id), 0),
        Direction::Reply => (None, 0),
    };
    (kernel_tuple(&session.original, original), both)
}

/// A session for the kernel, whole.
pub(super) fn entry(session: &Session) -> kernel::Entry {
    let (original, both) = address(session);
    let reply = (session.zone.direction == Direction::Reply).then_some(session.zone.id);
    let mut entry = kernel::Entry::new(original, both);
    entry.reply = Some(kernel_tuple(&session.reply, reply));
    entry.status = Some(kernel::Status(session.status.0));
    entry.proto = kernel_proto(session.proto);
    entry.timeout = Some(session.timeout);
    entry.mark = Some(session.mark);
    // Without labels no room for them is needed.
    entry.labels = (session.labels != 0).then_some(session.labels);
    entry.helper.clone_from(&session.helper);
    entry.master = session.master.as_ref().map(|master| kernel_tuple(master, None));
    entry.seq_adjust = session.seq_adjust.map(|both| {
        both.map(|SeqAdjust { position, before, after }| kernel::SeqAdjust {
            position,
            before,
            after,
        })
    });
    entry.syn_proxy = session.syn_proxy.map(|SynProxy { isn, its, offset }| kernel::SynProxy {
        isn,
        its,
        offset,
    });
    entry
}

/// An expectation for the kernel; `None` for a session, or one without a master.
pub(super) fn expectation(session: &Session) -> Option<kernel::Expectation> {
    let expectation = session.expectation.as_ref()?;
    Some(kernel::Expectation {
        tuple: kernel_tuple(&session.original, None),
        mask: kernel_tuple(&expectation.mask, None),
        master: kernel_tuple(session.master.as_ref()?, None),
        zone: session.zone.id,
        timeout: Some(session.timeout),
        id: None,
        helper: session.helper.clone(),
        flags: expectation.flags,
        class: expectation.class,
        nat: expectation.nat.as_ref().map(|(direction, to)| kernel::ExpectedNat {
            direction: *direction,
            tuple: kernel_tuple(to, None),
        }),
        function: expectation.function.clone(),
    })
}

/// A tuple without its zone.
pub(super) fn tuple(tuple: &kernel::Tuple) -> Tuple {
    let layer4 = match tuple.layer4 {
        kernel::Layer4::Ports { src, dst } => Layer4::Ports { src, dst },
        kernel::Layer4::Icmp { id, kind, code } => Layer4::Icmp { id, kind, code },
        kernel::Layer4::None => Layer4::None,
    };
    Tuple { src: tuple.src, dst: tuple.dst, protocol: tuple.protocol, layer4 }
}

/// A tuple for the kernel.
pub(super) fn kernel_tuple(tuple: &Tuple, zone: Option<u16>) -> kernel::Tuple {
    let layer4 = match tuple.layer4 {
        Layer4::Ports { src, dst } => kernel::Layer4::Ports { src, dst },
        Layer4::Icmp { id, kind, code } => kernel::Layer4::Icmp { id, kind, code },
        Layer4::None => kernel::Layer4::None,
    };
    kernel::Tuple { src: tuple.src, dst: tuple.dst, protocol: tuple.protocol, layer4, zone }
}

fn zone(entry: &kernel::Entry) -> Zone {
    let reply = entry.reply.as_ref().and_then(|reply| reply.zone);
    match (entry.zone, entry.original.zone, reply) {
        (0, Some(id), _) => Zone { id, direction: Direction::Original },
        (0, None, Some(id)) => Zone { id, direction: Direction::Reply },
        (id, ..) => Zone { id, direction: Direction::Both },
    }
}

fn proto(info: kernel::ProtoInfo) -> Proto {
    match info {
        kernel::ProtoInfo::Tcp(tcp) => {
            let [original, reply] = tcp.portable().ends.unwrap_or_default();
            Proto::Tcp(Tcp {
                state: TcpState(tcp.state),
                scale_original: original.scale,
                scale_reply: reply.scale,
                flags_original: original.flags,
                flags_reply: reply.flags,
            })
        }
        kernel::ProtoInfo::Sctp(sctp) => {
            let [tag_original, tag_reply] = sctp.tags.unwrap_or_default();
            Proto::Sctp { state: sctp.state, tag_original, tag_reply }
        }
        kernel::ProtoInfo::Dccp(dccp) => Proto::Dccp {
            state: dccp.state,
            role: dccp.role.unwrap_or_default(),
            handshake: dccp.handshake.unwrap_or_default(),
        },
    }
}

fn kernel_proto(proto: Proto) -> Option<kernel::ProtoInfo> {
    let end = |scale, flags| kernel::TcpEnd { scale, flags };
    match proto {
        Proto::None => None,
        Proto::Tcp(tcp) => {
            let ends = [
                end(tcp.scale_original, tcp.flags_original),
                end(tcp.scale_reply, tcp.flags_reply),
            ];
            let info = kernel::TcpInfo { state: tcp.state.0, ends: Some(ends) };
            // See `windows`.
            Some(kernel::ProtoInfo::Tcp(info.portable().liberal()))
        }
        Proto::Sctp { state, tag_original, tag_reply } => {
            let tags = Some([tag_original, tag_reply]);
            Some(kernel::ProtoInfo::Sctp(kernel::SctpInfo { state, tags }))
        }
        Proto::Dccp { state, role, handshake } => {
            let (role, handshake) = (Some(role), Some(handshake));
            Some(kernel::ProtoInfo::Dccp(kernel::DccpInfo { state, role, handshake }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> kernel::Entry {
        let tuple = |src: [u8; 4], dst: [u8; 4], (from, to)| kernel::Tuple {
            src: src.into(),
            dst: dst.into(),
            protocol: 6,
            layer4: kernel::Layer4::Ports { src: from, dst: to },
            zone: None,
        };
        let end = |scale| kernel::TcpEnd { scale, flags: 0x03 };
        kernel::Entry {
            reply: Some(tuple([198, 51, 100, 7], [203, 0, 113, 1], (443, 1024))),
            status: Some(kernel::Status(0b110)),
            proto: Some(kernel::ProtoInfo::Tcp(kernel::TcpInfo {
                state: 3,
                ends: Some([end(7), end(9)]),
            })),
            timeout: Some(432_000),
            mark: Some(0x12),
            labels: Some(1 << 70),
            helper: Some("ftp".into()),
            master: Some(tuple([10, 0, 0, 5], [198, 51, 100, 7], (9, 21))),
            seq_adjust: Some([kernel::SeqAdjust { position: 1, before: 2, after: 3 }; 2]),
            syn_proxy: Some(kernel::SynProxy { isn: 1, its: 2, offset: 3 }),
            ..kernel::Entry::new(tuple([10, 0, 0, 5], [198, 51, 100, 7], (40_000, 443)), 4)
        }
    }

    #[test]
    fn a_session_comes_back_as_it_went() {
        let mut written = whole();
        if let Some(kernel::ProtoInfo::Tcp(tcp)) = &mut written.proto {
            *tcp = tcp.portable().liberal();
        }
        assert_eq!(entry(&delta(&whole()).begin()), written);
        assert_eq!(delta(&written), delta(&whole()), "what is written comes back as the same");
    }

    #[test]
    fn a_zone_of_one_direction_stays_one() {
        let mut one = whole();
        one.zone = 0;
        one.original.zone = Some(9);
        let back = entry(&delta(&one).begin());
        assert_eq!((back.zone, back.original), (0, one.original));
    }

    #[test]
    fn an_expectation_comes_back_as_it_went() {
        let session = whole();
        let one = kernel::Expectation {
            tuple: session.original,
            mask: session.original,
            master: session.original,
            zone: 0,
            timeout: Some(300),
            id: None,
            helper: Some("ftp".into()),
            flags: 0,
            class: 0,
            nat: Some(kernel::ExpectedNat { direction: 1, tuple: session.original }),
            function: Some("nat-follow-master".into()),
        };
        assert_eq!(expectation(&expected(&one).begin()), Some(one));
    }
}
