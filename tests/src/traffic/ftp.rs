//! What FTP's client and server share: lines, and addresses as RFC 959 and RFC 2428 write them.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use crate::traffic::limit::{Limit, TICK};

/// The longest line that is read.
const LINE: usize = 1_024;

/// A control connection.
#[derive(Debug)]
pub struct Control {
    stream: TcpStream,
    pending: Vec<u8>,
    limit: Limit,
}

impl Control {
    /// Takes a connection over.
    ///
    /// # Errors
    /// When its options can't be set.
    pub fn new(stream: TcpStream, limit: &Limit) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(TICK))?;
        Ok(Self { stream, pending: Vec::new(), limit: limit.clone() })
    }

    /// The connection.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a line.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        // In one segment: the kernel's helper looks for the whole command in one packet.
        self.stream.write_all(format!("{line}\r\n").as_bytes())
    }

    /// Reads a line, without its end.
    ///
    /// # Errors
    /// When the connection ends, the line is too long, or the time is over.
    pub fn hear(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let line: Vec<_> = self.pending.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.pending.len() > LINE {
                return Err(io::Error::other("a line is too long"));
            }
            let mut buffer = [0; LINE];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.pending.extend(buffer.iter().take(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.limit.is_over() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// `h1,h2,h3,h4,p1,p2`, for PORT and the answer to PASV. `None` for IPv6.
#[must_use]
pub fn format_port(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let [a, b, c, d] = address.ip().octets();
    let [high, low] = address.port().to_be_bytes();
    Some(format!("{a},{b},{c},{d},{high},{low}"))
}

/// Reads what [`format_port`] writes, with anything around it.
#[must_use]
pub fn parse_port(text: &str) -> Option<SocketAddr> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let digits = text.get(start..)?;
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(digits.len());
    let numbers: Result<Vec<u8>, _> = digits.get(..end)?.split(',').map(str::parse).collect();
    let &[a, b, c, d, high, low] = numbers.ok()?.as_slice() else { return None };
    let port = u16::from_be_bytes([high, low]);
    Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port).into())
}

/// `|1|10.0.0.5|7000|`, for EPRT.
#[must_use]
pub fn format_eprt(address: SocketAddr) -> String {
    let family = if address.is_ipv4() { 1 } else { 2 };
    format!("|{family}|{}|{}|", address.ip(), address.port())
}

/// Reads what [`format_eprt`] writes.
#[must_use]
pub fn parse_eprt(text: &str) -> Option<SocketAddr> {
    let mut fields = text.trim().strip_prefix('|')?.strip_suffix('|')?.split('|');
    let family = fields.next()?;
    let address: IpAddr = fields.next()?.parse().ok()?;
    let port = fields.next()?.parse().ok()?;
    let fits = if address.is_ipv4() { family == "1" } else { family == "2" };
    (fits && fields.next().is_none()).then_some(SocketAddr::new(address, port))
}

/// The port in the answer to EPSV: `... (|||7000|)`.
#[must_use]
pub fn parse_epsv(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("(|||")?;
    rest.split_once("|)")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_as_rfc_959_has_it() {
        let address = "10.0.0.5:7001".parse().unwrap();
        assert_eq!(format_port(address).unwrap(), "10,0,0,5,27,89");
        assert_eq!(parse_port("227 Entering Passive Mode (10,0,0,5,27,89)."), None);
        assert_eq!(parse_port("Entering Passive Mode (10,0,0,5,27,89)."), Some(address));
        for bad in ["", "1,2,3", "1,2,3,4,5,256", "1,2,3,4,5,6,7", ",,,,,"] {
            assert_eq!(parse_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn eprt_and_epsv_are_as_rfc_2428_has_them() {
        for text in ["|1|10.0.0.5|7000|", "|2|2001:db8:10::5|7000|"] {
            assert_eq!(format_eprt(parse_eprt(text).unwrap()), text);
        }
        for bad in ["|1|2001:db8::1|7000|", "|1|10.0.0.5|", "|1|10.0.0.5|7000|x|", "7000"] {
            assert_eq!(parse_eprt(bad), None, "{bad}");
        }
        assert_eq!(parse_epsv("229 Entering Extended Passive Mode (|||7000|)"), Some(7000));
        assert_eq!(parse_epsv("229 no"), None);
    }
}
