//! Dumps and look-ups of whole entries and expectations.
//!
//! Goes in: a [`Select`], or a tuple. Comes out: entries, one after the other, so that memory does
//! not grow with the table. Not here: changes.

use super::entry::Entry;
use super::expectation::{self, Expectation};
use super::session::{self, Status};
use super::{Conntrack, Dumped, MSG_GET, MarkFilter, TupleRef};
use crate::socket::Error;
use crate::wire;

/// Which sessions a dump gives; all of them by default. The kernel leaves the others out where it
/// can (by mark since Linux 3.5, by status 5.15, by zone 6.8), and what is left is looked at here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// Those with this mark under a mask.
    pub mark: Option<MarkFilter>,
    /// Those in this conntrack zone, be it of both directions or of one.
    pub zone: Option<u16>,
    /// Those with all bits of the first and none of the second. The two must not overlap.
    pub status: Option<(Status, Status)>,
    /// Those of this family, `AF_INET` or `AF_INET6`.
    pub family: Option<u8>,
}

impl Conntrack {
    /// Hands every selected session to `each`, whole.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EPERM` without `CAP_NET_ADMIN`.
    pub fn entries(
        &mut self,
        select: Select,
        mut each: impl FnMut(Entry),
    ) -> Result<Dumped, Error> {
        let seq = self.socket.next_seq();
        let mut writer = wire::Writer::default();
        let family = select.family.unwrap_or(libc::AF_UNSPEC as u8);
        writer.message(MSG_GET, wire::F_DUMP, seq, family, 0);
        if let Some(MarkFilter { mark, mask }) = select.mark {
            writer.be32(session::MARK, mark & mask);
            writer.be32(session::MARK_MASK, mask);
        }
        if let Some(zone) = select.zone {
            writer.be16(session::ZONE, zone);
        }
        if let Some((set, clear)) = select.status.filter(|(set, clear)| set.0 | clear.0 != 0) {
            writer.be32(session::STATUS, set.0);
            writer.be32(session::STATUS_MASK, set.0 | clear.0);
        }
        let mut dumped = Dumped::default();
        self.socket.dump(writer.finished().ok_or(Error::TooLong)?, seq, |message| {
            match Entry::parse(message) {
                Some(entry) if select.takes(&entry) => {
                    dumped.sessions += 1;
                    each(entry);
                }
                Some(_) => {}
                None => dumped.unreadable += 1,
            }
        })?;
        Ok(dumped)
    }

    /// Looks a session up in a conntrack zone, 0 if there are none; `None` when there is no such
    /// session.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EPERM` without `CAP_NET_ADMIN`.
    pub fn entry(&mut self, tuple: TupleRef<'_>, zone: u16) -> Result<Option<Entry>, Error> {
        self.look_up(tuple, zone, Entry::parse).map(Option::flatten)
    }

    /// Hands every expectation to `each`.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EPERM` without `CAP_NET_ADMIN`.
    pub fn expectations(&mut self, mut each: impl FnMut(Expectation)) -> Result<Dumped, Error> {
        let seq = self.socket.next_seq();
        let mut writer = wire::Writer::default();
        writer.message(expectation::MSG_GET, wire::F_DUMP, seq, libc::AF_UNSPEC as u8, 0);
        let mut dumped = Dumped::default();
        self.socket.dump(writer.finished().ok_or(Error::TooLong)?, seq, |message| {
            match Expectation::parse(message) {
                Some(expectation) => {
                    dumped.sessions += 1;
                    each(expectation);
                }
                None => dumped.unreadable += 1,
            }
        })?;
        Ok(dumped)
    }
}

impl Select {
    fn takes(&self, entry: &Entry) -> bool {
        let mark = entry.mark.unwrap_or_default();
        let status = entry.status.unwrap_or_default();
        let own = entry.original.zone.or(entry.reply.and_then(|reply| reply.zone));
        self.mark.is_none_or(|filter| (mark ^ filter.mark) & filter.mask == 0)
            && self.zone.is_none_or(|zone| own.unwrap_or(entry.zone) == zone)
            && self.status.is_none_or(|(set, clear)| status.has(set) && status.0 & clear.0 == 0)
            && self.family.is_none_or(|family| entry.original.family() == family)
    }
}
