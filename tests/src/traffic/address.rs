//! Addresses as the tools' options have them.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// One address and one or more ports: `10.0.0.5:7000` or `[2001:db8:10::5]:7000-7009`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub address: IpAddr,
    /// The first port.
    pub first: u16,
    /// The last port, not below the first.
    pub last: u16,
}

impl Listen {
    /// Each address with a port.
    pub fn sockets(self) -> impl Iterator<Item = SocketAddr> {
        (self.first..=self.last).map(move |port| SocketAddr::new(self.address, port))
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not ADDRESS:PORT or ADDRESS:PORT-PORT");
        let (start, last) = match text.rsplit_once('-') {
            Some((start, last)) => (start, Some(last.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let start: SocketAddr = start.parse().map_err(|_| wrong())?;
        let last = last.unwrap_or_else(|| start.port());
        if last < start.port() {
            return Err(wrong());
        }
        Ok(Self { address: start.ip(), first: start.port(), last })
    }
}

/// A source: an address, with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The address.
    pub address: IpAddr,
    /// The port; 0 leaves it to the kernel.
    pub port: u16,
}

impl Source {
    /// The address and port of the flow or connection with this index, counted from 0; `None` when
    /// that would be beyond port 65,535.
    #[must_use]
    pub fn socket(self, index: u32) -> Option<SocketAddr> {
        let port = match self.port {
            0 => 0,
            first => u16::try_from(u32::from(first).checked_add(index)?).ok()?,
        };
        Some(SocketAddr::new(self.address, port))
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let alone = text.parse().map(|address| Self { address, port: 0 });
        alone.or_else(|_| {
            text.parse::<SocketAddr>()
                .map(|both| Self { address: both.ip(), port: both.port() })
                .map_err(|_| format!("`{text}` is not ADDRESS or ADDRESS:PORT"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_read_in_both_families() {
        let v4: Listen = "10.0.0.5:7000-7002".parse().unwrap();
        assert_eq!(v4.sockets().count(), 3);
        let v6: Listen = "[2001:db8::1]:7000".parse().unwrap();
        assert_eq!((v6.first, v6.last), (7000, 7000));
        for bad in ["10.0.0.5", "10.0.0.5:9-8", "10.0.0.5:70000", ":1", "10.0.0.5:1-"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn flows_count_up_from_the_source_port() {
        let source: Source = "10.0.0.5:65535".parse().unwrap();
        assert_eq!(source.socket(0).unwrap().port(), 65_535);
        assert_eq!(source.socket(1), None);
        let any: Source = "2001:db8::1".parse().unwrap();
        assert_eq!(any.socket(9).unwrap().port(), 0);
    }
}
