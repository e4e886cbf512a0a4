//! What happens to the pair: packets of sessions, and faults.

use super::host::{GROUPS, SHARED};
use super::{Due, MS, Nanos, OWNED, Side, World};
use std::net::Ipv6Addr;
use twinwall_ctsync::model::{
    Delta, GroupTag, Layer4, Origin, Proto, Role, Session, Status, Tcp, TcpState, Tuple,
};

/// Clients have so many sessions at most.
const POPULATION: usize = 250;

/// A session as its client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) session: Session,
    /// The group whose virtual routers it goes through; the session need not tell.
    pub(crate) path: GroupTag,
}

impl World {
    pub(crate) fn act(&mut self) -> Result<(), String> {
        let drawn = self.rng.below(10_000);
        match drawn {
            0..3400 => self.open(),
            3400..6000 => self.progress(),
            6000..8600 => self.close(),
            8600..9100 => self.asymmetric(),
            9100..9200 => self.expire(),
            9200..9500 => self.weather(),
            9500..9540 => self.cut(),
            9540..9570 => self.kill(false),
            9570..9580 => self.kill(true),
            9580..9640 => self.go_deaf(),
            9640..9680 => self.reload()?,
            9680..9740 => self.hand_over()?,
            9740..9760 => self.split()?,
            9760..9770 => self.resync()?,
            9770..9790 => self.rotate(),
            9790..9800 => self.steal(),
            9800..9810 => self.begin_calm(),
            9810..9825 => self.confirm(),
            9825..9835 => self.keep_busy(),
            _ => self.refresh(),
        }
        Ok(())
    }

    fn open(&mut self) {
        if self.sessions.len() >= POPULATION {
            return;
        }
        // A port is used again after a while, sometimes while the old session is remembered.
        self.next_port = self.next_port % 400 + 1;
        let number = self.next_port;
        if self.sessions.iter().any(|client| client.number == number) {
            return;
        }
        let path = GROUPS[(number % 2) as usize];
        let Some(side) = self.carrier(path, number) else { return };
        let group = if number.is_multiple_of(3) { SHARED } else { path };
        let mut session = draw(number, self.rng.next());
        session.group = group;
        session.mark = self.host(side).policy.decide(&session) | 0xa500_0000;
        if number.is_multiple_of(17)
            && let Some(master) = self.sessions.iter().find(|client| client.session.group == group)
            && master.session.original.is_ipv6() == session.original.is_ipv6()
        {
            session.master = Some(master.session.original);
        }
        let now = self.now;
        let host = self.host_mut(side);
        if host.kernel.table.contains_key(&session.identity()) {
            // An older one that wasn't ended; its next packet belongs to that.
            host.kernel.destroy(&session.identity(), Origin::Traffic);
        }
        host.kernel.open(now, &session);
        self.summary.opened += 1;
        self.sessions.push(Client { number, session, path });
        self.notify(side);
    }

    fn pick(&mut self) -> Option<usize> {
        let len = self.sessions.len() as u64;
        (len > 0).then(|| self.rng.below(len) as usize)
    }

    fn progress(&mut self) {
        let Some(at) = self.pick() else { return };
        let client = self.sessions[at].clone();
        let Some(side) = self.carrier(client.path, client.number) else { return };
        self.packet(at, side);
    }

    /// A packet through the host that doesn't carry the session: the reply takes another path.
    fn asymmetric(&mut self) {
        let Some(at) = self.pick() else { return };
        let client = self.sessions[at].clone();
        if self.split {
            return;
        }
        let Some(side) = self.carrier(client.path, client.number) else { return };
        if self.host(side.other()).node.is_some() {
            self.packet(at, side.other());
        }
    }

    fn packet(&mut self, at: usize, side: Side) {
        let client = self.sessions[at].clone();
        let mut delta = Delta::new(client.session.original);
        delta.group = client.session.group;
        delta.zone = client.session.zone;
        delta.timeout = Some(client.session.timeout);
        match self.rng.below(4) {
            0 => delta.status = Some(Status(client.session.status.0 | Status::SEEN_REPLY.0)),
            1 => {
                delta.status = Some(Status(
                    client.session.status.0 | Status::ASSURED.0 | Status::SEEN_REPLY.0,
                ));
            }
            2 => delta.labels = Some(1 << self.rng.below(20)),
            _ => {
                if let Proto::Tcp(mut tcp) = client.session.proto {
                    tcp.state = TcpState((tcp.state.0 + 1).min(3));
                    tcp.scale_original = 7;
                    delta.proto = Some(Proto::Tcp(tcp));
                } else {
                    delta.mark = Some(client.session.mark ^ 0x0100_0000);
                }
            }
        }
        let now = self.now;
        let kept = self.host(side).kernel.table.get(&delta.identity());
        let key = kept.map_or(0, |kept| kept.session.mark & OWNED);
        delta.mark = delta.mark.map(|mark| key | mark & !OWNED);
        let host = self.host_mut(side);
        if host.kernel.traffic(now, delta.clone()) {
            delta.merge_into(&mut self.sessions[at].session);
            self.notify(side);
        } else {
            self.summary.missed += 1;
        }
    }

    fn refresh(&mut self) {
        let Some(at) = self.pick() else { return };
        let client = self.sessions[at].clone();
        let now = self.now;
        if let Some(side) = self.carrier(client.path, client.number) {
            let (identity, timeout) = (client.session.identity(), client.session.timeout);
            self.host_mut(side).kernel.refresh(now, &identity, timeout);
        }
    }

    fn close(&mut self) {
        let Some(at) = self.pick() else { return };
        let client = self.sessions.swap_remove(at);
        if let Some(side) = self.carrier(client.path, client.number) {
            self.host_mut(side).kernel.destroy(&client.session.identity(), Origin::Traffic);
            self.notify(side);
        }
    }

    pub(crate) fn expire(&mut self) {
        let now = self.now;
        for side in Side::BOTH {
            self.host_mut(side).kernel.expire(now);
            self.notify(side);
        }
    }

    /// Another quality of the link and of the kernel.
    fn weather(&mut self) {
        self.loss = self.rng.pick([0, 0, 0, 20, 50, 200]).unwrap_or(0);
        self.repeat = self.rng.pick([0, 0, 50, 200]).unwrap_or(0);
        self.jitter = self.rng.pick([20_000, 20_000, 300_000, 3 * MS]).unwrap_or(20_000);
        self.refuse = self.rng.pick([0, 0, 0, 20, 100]).unwrap_or(0);
    }

    fn cut(&mut self) {
        if self.cut || self.one_way.is_some() {
            return;
        }
        self.summary.cuts += 1;
        if self.rng.chance(700) {
            self.cut = true;
        } else {
            self.one_way = self.rng.pick(Side::BOTH);
        }
        let length = self.rng.pick([5 * MS, 30 * MS, 300 * MS, 2_000 * MS]).unwrap_or(MS);
        self.trace(|| format!("the link is cut for {} ms", length / MS));
        self.schedule(length, Due::Heal);
    }

    /// The daemon dies, or the host does with its kernel's sessions.
    fn kill(&mut self, reboot: bool) {
        let Some(side) = self.rng.pick(Side::BOTH) else { return };
        if self.host(side).node.is_none() || self.split {
            return;
        }
        self.trace(|| format!("{side:?} dies, with its kernel: {reboot}"));
        let host = self.host_mut(side);
        host.node = None;
        if reboot {
            host.kernel = Default::default();
        }
        for group in GROUPS {
            self.host_mut(side).roles.insert(group, Role::Backup);
            if self.host(side.other()).node.is_some() {
                let after = 5 * MS + self.rng.below(30 * MS);
                self.schedule(after, Due::Move { group, to: side.other() });
            }
        }
        if reboot {
            self.summary.reboots += 1;
        } else {
            self.summary.restarts += 1;
        }
        let after = 60 * MS + self.rng.below(1_500 * MS);
        self.schedule(after, Due::Boot { side });
    }

    /// The daemon reads its notifications too slowly.
    fn go_deaf(&mut self) {
        let Some(side) = self.rng.pick(Side::BOTH) else { return };
        self.summary.overruns += 1;
        self.host_mut(side).kernel.deaf = true;
        let after = self.rng.below(40 * MS);
        self.schedule(after, Due::Hear { side });
    }

    /// A daemon is busy with something else, or both are.
    fn keep_busy(&mut self) {
        let length = MS + self.rng.below(40 * MS);
        let both = self.rng.chance(300);
        let Some(one) = self.rng.pick(Side::BOTH) else { return };
        self.summary.standstills += 1;
        for side in Side::BOTH.into_iter().filter(|side| both || *side == one) {
            self.host_mut(side).busy_until = self.now + length;
        }
    }

    fn hand_over(&mut self) -> Result<(), String> {
        let Some(group) = self.rng.pick(GROUPS) else { return Ok(()) };
        let Some(to) = self.rng.pick(Side::BOTH) else { return Ok(()) };
        if !self.split && self.host(to).node.is_some() {
            self.move_group(group, to)?;
        }
        Ok(())
    }

    pub(crate) fn move_group(&mut self, group: GroupTag, to: Side) -> Result<(), String> {
        if self.host(to).node.is_none() || self.split {
            return Ok(());
        }
        self.summary.moves += 1;
        self.trace(|| format!("group {} moves to {to:?}", group.0));
        let now = self.now;
        for (side, role) in [(to, Role::Active), (to.other(), Role::Backup)] {
            self.host_mut(side).roles.insert(group, role);
            let out = self.host_mut(side).tell_roles(now);
            self.apply(side, out)?;
        }
        Ok(())
    }

    /// Neither adverts nor the sync channel get through, and both hosts forward.
    fn split(&mut self) -> Result<(), String> {
        if self.split || self.hosts.iter().any(|host| host.node.is_none()) {
            return Ok(());
        }
        self.summary.splits += 1;
        (self.cut, self.split) = (true, true);
        self.trace(|| "split".into());
        let now = self.now;
        for side in Side::BOTH {
            for group in GROUPS {
                self.host_mut(side).roles.insert(group, Role::Active);
            }
            let out = self.host_mut(side).tell_roles(now);
            self.apply(side, out)?;
        }
        let after = 50 * MS + self.rng.below(1_000 * MS);
        self.schedule(after, Due::Unsplit);
        Ok(())
    }

    pub(crate) fn unsplit(&mut self) -> Result<(), String> {
        if !self.split {
            return Ok(());
        }
        self.trace(|| "the split is over".into());
        (self.cut, self.split, self.one_way) = (false, false, None);
        // VRRP needs a moment to agree.
        for group in GROUPS {
            let to = self.rng.pick(Side::BOTH).unwrap_or(Side::A);
            self.schedule(self.now % (20 * MS), Due::Move { group, to });
        }
        Ok(())
    }

    /// A host that has everything may take its own group back.
    pub(crate) fn may_preempt(&mut self, side: Side) {
        let group = GROUPS[usize::from(side == Side::B)];
        let after: Nanos = 5 * MS;
        if self.host(side).roles.get(&group) != Some(&Role::Active) && !self.split {
            self.schedule(after, Due::Move { group, to: side });
        }
    }

    fn resync(&mut self) -> Result<(), String> {
        let Some(side) = self.rng.pick(Side::BOTH) else { return Ok(()) };
        let now = super::time(self.now);
        let out = self.host_mut(side).verb(|node, out| node.resync(now, out));
        self.apply(side, out)
    }

    /// A step of changing the pre-shared key: each host in its turn, never a gap.
    fn rotate(&mut self) {
        let newest = self.hosts.iter().flat_map(|host| host.rings.first()).max().copied();
        let newest = newest.unwrap_or(1);
        let rings: Vec<Vec<u8>> = self.hosts.iter().map(|host| host.rings.clone()).collect();
        let next = newest % 200 + 1;
        let step = match (rings[0].as_slice(), rings[1].as_slice()) {
            ([a], [b]) if a == b => (Side::A, vec![*a, next]),
            ([a, n], [_]) => (Side::B, vec![*a, *n]),
            ([a, n], [b, m]) if a == b && n == m => (Side::A, vec![*n, *a]),
            ([a, n], [_, _]) => (Side::B, vec![*a, *n]),
            _ => return,
        };
        let (side, ring) = step;
        if ring == rings[usize::from(side == Side::B)] {
            // Both have the new key first: the old one goes.
            for side in Side::BOTH {
                let host = self.host_mut(side);
                host.rings.truncate(1);
                let ring = host.ring();
                host.node.iter_mut().for_each(|node| node.set_keys(ring.clone()));
            }
            return;
        }
        let host = self.host_mut(side);
        host.rings = ring;
        let ring = host.ring();
        host.node.iter_mut().for_each(|node| node.set_keys(ring.clone()));
    }

    /// Somebody deletes a session from the kernel of the host that doesn't carry it.
    fn steal(&mut self) {
        let Some(at) = self.pick() else { return };
        let client = self.sessions[at].clone();
        if let Some(side) = self.carrier(client.path, client.number) {
            let other = side.other();
            self.host_mut(other).kernel.destroy(&client.session.identity(), Origin::Local);
            self.notify(other);
        }
    }
}

/// A session of a client.
pub(crate) fn draw(number: u32, bits: u64) -> Session {
    let port = 1024 + number as u16;
    let ports = Layer4::Ports { src: port, dst: 443 };
    let v4 = |a, b| [10, 0, a, b].into();
    let original = if bits & 7 == 0 {
        let address = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into();
        Tuple { src: address(1), dst: address(2), protocol: 6, layer4: ports }
    } else if bits & 7 == 1 {
        let layer4 = Layer4::Icmp { id: port, kind: 8, code: 0 };
        Tuple { src: v4(1, 1), dst: v4(2, 2), protocol: 1, layer4 }
    } else {
        let protocol = if bits & 8 == 0 { 17 } else { 6 };
        Tuple { src: v4(1, 1), dst: v4(2, 2), protocol, layer4: ports }
    };
    let mut session = Session::new(original, original.inverse());
    if bits & 0x30 == 0 && !original.is_ipv6() {
        session.reply.dst = [192, 0, 2, (bits >> 8 & 3) as u8].into();
    }
    session.status = Status(8);
    session.timeout = 30 + (bits >> 16 & 63) as u32;
    if original.protocol == 6 {
        session.proto = Proto::Tcp(Tcp { state: TcpState::SYN_SENT, ..Tcp::default() });
    }
    session
}
