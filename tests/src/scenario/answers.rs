//! Who answers for an address: what the switch's ports see while a host asks again and again.
//!
//! In: a testbed and addresses. Out: every answer with its time and port, whichever MAC address it
//! names; so two gateways that share a virtual MAC address are told apart. Not here: how the host
//! asks ([`crate::traffic::solicit`]).

use crate::error::Error;
use crate::process::Process;
use crate::testbed::Testbed;
use crate::{clock, host};
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// How often each second the host asks.
const RATE: u32 = 200;

/// An answer to a host that has asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When it came to the switch, as a reading of the clock.
    pub at: u64,
    /// The port that it came from.
    pub port: String,
    /// The address that it is for.
    pub address: IpAddr,
}

/// For how long two gateways answered for one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Both {
    /// From the first answer of the new owner to the last one of the old one; 0 if that was before.
    pub nanoseconds: u64,
    /// The old owner still answered when the observation ended.
    pub to_the_end: bool,
}

/// An observation under way.
#[derive(Debug)]
pub struct Watch {
    asking: Process,
    watching: Process,
}

impl Watch {
    /// Begins to ask for these addresses from `client2`, and to watch the switch.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without `tcpdump`.
    pub fn start(testbed: &Testbed, addresses: &[IpAddr]) -> Result<Self, Error> {
        host::require("tcpdump", "tcpdump")?;
        let command = testbed.node("switch")?.command("tcpdump")?;
        // In an answer the operation is 2; in a neighbour advertisement the type is 136.
        let filter = "(arp and arp[6:2] = 2) or (icmp6 and ip6[40] = 136)";
        let mut watching = command
            .args(["-i", "any", "-Q", "in", "-Z", "root", "-n", "-tt", "--nano", "-l"])
            .args(["--immediate-mode", "-B", "4096", filter])
            .spawn()?;
        watching.wait_for("listening on", Duration::from_secs(10))?;
        let mut arguments = vec!["solicit".to_owned(), format!("--rate={RATE}")];
        arguments.extend(addresses.iter().map(|address| format!("--address={address}")));
        arguments.push("--for=600".to_owned());
        let mut asking = testbed.node("client2")?.traffic(arguments)?.spawn()?;
        asking.wait_ready()?;
        Ok(Self { asking, watching })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When one of the two programs has failed.
    pub fn stop(mut self) -> Result<Vec<Answer>, Error> {
        self.asking.signal(Signal::TERM)?;
        self.asking.finish()?.success()?;
        self.watching.signal(Signal::TERM)?;
        let text = self.watching.finish()?.success()?.stdout;
        let behind = wall_clock().saturating_sub(clock::now());
        let moved = |answer: Answer| Answer { at: answer.at.saturating_sub(behind), ..answer };
        Ok(text.lines().filter_map(parse).map(moved).collect())
    }
}

/// How long both ports answered for an address, from an event to the end of the observation.
#[must_use]
pub fn both(answers: &[Answer], address: IpAddr, ports: [&str; 2], event: u64) -> Both {
    let [old, new] = ports;
    let of = |port: &str| -> Vec<u64> {
        let one = |a: &&Answer| a.at >= event && a.address == address && a.port == port;
        answers.iter().filter(one).map(|answer| answer.at).collect()
    };
    let end = answers.iter().map(|answer| answer.at).max().unwrap_or(event);
    let (Some(&first), Some(&last)) = (of(new).iter().min(), of(old).iter().max()) else {
        return Both::default();
    };
    let rounds = 20 * 1_000_000_000 / u64::from(RATE);
    Both {
        nanoseconds: last.saturating_sub(first),
        to_the_end: last > first && end - last < rounds,
    }
}

/// The last answer of a port for any address; 0 if there is none.
#[must_use]
pub fn last_of(answers: &[Answer], port: &str) -> u64 {
    answers.iter().filter(|answer| answer.port == port).map(|answer| answer.at).max().unwrap_or(0)
}

fn wall_clock() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000) + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A line of `tcpdump`; only what was sent to one host, since announcements go to all.
fn parse(line: &str) -> Option<Answer> {
    let mut words = line.split_whitespace();
    let (seconds, nanoseconds) = words.next()?.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let at = seconds.checked_mul(1_000_000_000)? + nanoseconds.parse::<u64>().ok()?;
    let port = words.next()?.to_owned();
    if words.next()? != "P" {
        return None;
    }
    let address = match words.next()? {
        "ARP," => words.nth(1)?,
        "IP6" => line.split_once("tgt is ")?.1.split(',').next()?,
        _ => return None,
    };
    Some(Answer { at, port, address: address.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARP: &str =
        "1795304736.849677849 gw-a-lan P   ARP, Reply 10.0.0.1 is-at b2:6a:87:27:cd:2e, length 28";
    const ND: &str = "1795304736.849704425 gw-b-lan P   IP6 2001:db8:10::1 > fe80::1: ICMP6, \
                      neighbor advertisement, tgt is 2001:db8:10::1, length 32";

    #[test]
    fn answers_are_read_and_announcements_are_not() {
        let answer = parse(ARP).unwrap();
        assert_eq!((answer.at, answer.port.as_str()), (1_795_304_736_849_677_849, "gw-a-lan"));
        assert_eq!(answer.address.to_string(), "10.0.0.1");
        assert_eq!(parse(ND).unwrap().address.to_string(), "2001:db8:10::1");
        assert_eq!(parse(&ARP.replace(" P ", " B ")), None);
        assert_eq!(parse("1.2 gw-a-lan P"), None);
    }

    #[test]
    fn two_owners_are_counted_from_the_first_answer_of_the_new_one() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let answer =
            |port: &str, ms: u64| Answer { at: ms * 1_000_000, port: port.into(), address };
        let ports = ["gw-a-lan", "gw-b-lan"];
        let mut answers: Vec<_> = (0..700).map(|ms| answer("gw-a-lan", ms)).collect();
        answers.extend((300..2_000).map(|ms| answer("gw-b-lan", ms)));
        let found = both(&answers, address, ports, 100_000_000);
        assert_eq!(found, Both { nanoseconds: 399_000_000, to_the_end: false });
        answers.extend((700..2_000).map(|ms| answer("gw-a-lan", ms)));
        assert!(both(&answers, address, ports, 100_000_000).to_the_end);
        assert_eq!(both(&answers[..200], address, ports, 0), Both::default());
        assert_eq!(last_of(&answers, "gw-b-lan"), 1_999_000_000);
    }
}
