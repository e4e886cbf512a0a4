//! Addresses, prefixes and ranges of addresses.

use super::scalar::shorten;
use crate::diag::{Code, Fault, codes};
use crate::source::Span;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An inclusive range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    V4(u32, u32),
    V6(u128, u128),
}

/// The forms that can be written in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `10.0.0.0/16`.
    Prefix,
    /// `10.0.0.1`.
    Host,
    /// `10.0.0.1-10.0.0.9`.
    Range,
    /// Any of these.
    Any,
}

impl Form {
    const fn description(self) -> &'static str {
        match self {
            Self::Prefix => "a prefix such as 10.0.0.0/16 or 2001:db8::/32",
            Self::Host => "an address such as 10.0.0.1 or 2001:db8::1",
            Self::Range => "a range such as 10.0.0.1-10.0.0.9",
            Self::Any => "an address, a prefix or a range",
        }
    }
}

/// Whether a text can only be meant as an address, and not as a name.
pub(crate) fn looks_like_address(text: &str) -> bool {
    let digits = || text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'/'));
    text.contains([':', '/']) || text.contains('.') && digits()
}

/// Reads an address in one of the forms.
///
/// # Errors
///
/// A fault at `span` that says what is wrong.
pub(crate) fn parse(text: &str, form: Form, span: Span) -> Result<Range, Fault> {
    let fault = |code: Code, label: &str| {
        let message = match code {
            codes::HOST_BITS => format!("`{}` is not a prefix", shorten(text)),
            _ => format!("`{}` is not {}", shorten(text), form.description()),
        };
        Fault::error(code, message).at(span, label)
    };
    let bad = |label: &str| fault(codes::BAD_ADDRESS, label);
    if let Some((address, length)) = text.split_once('/') {
        let address: IpAddr = address.parse().map_err(|_| bad(""))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = super::scalar::decimal(length).filter(|length| *length <= bits);
        let Some(length) = length.and_then(|length| u32::try_from(length).ok()) else {
            return Err(bad(&format!("the length can be 0 to {bits}")));
        };
        if !matches!(form, Form::Prefix | Form::Any) {
            return Err(bad("this is a prefix"));
        }
        let (range, first) = prefix(address, length);
        if first != address {
            let fault = fault(codes::HOST_BITS, "has bits set behind its length");
            return Err(fault.did_you_mean(&format!("{first}/{length}"), None));
        }
        return Ok(range);
    }
    if let Some((low, high)) = text.split_once('-') {
        let (Ok(low), Ok(high)) = (low.trim().parse(), high.trim().parse()) else {
            return Err(bad(""));
        };
        if !matches!(form, Form::Range | Form::Any) {
            return Err(bad("this is a range"));
        }
        return match (low, high) {
            (IpAddr::V4(low), IpAddr::V4(high)) if low <= high => {
                Ok(Range::V4(low.to_bits(), high.to_bits()))
            }
            (IpAddr::V6(low), IpAddr::V6(high)) if low <= high => {
                Ok(Range::V6(low.to_bits(), high.to_bits()))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                Err(bad("from one address family to the other"))
            }
            _ => Err(bad("the first address is above the last")),
        };
    }
    let address: IpAddr = text.parse().map_err(|_| bad(""))?;
    match form {
        Form::Host | Form::Any => Ok(host(address)),
        Form::Prefix => {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            Err(bad("the length is missing").did_you_mean(&format!("{address}/{bits}"), None))
        }
        Form::Range => Err(bad("this is one address")),
    }
}

/// The range of one address.
pub(crate) fn host(address: IpAddr) -> Range {
    match address {
        IpAddr::V4(address) => Range::V4(address.to_bits(), address.to_bits()),
        IpAddr::V6(address) => Range::V6(address.to_bits(), address.to_bits()),
    }
}

/// The range of a prefix, and its first address. `length` is at most the family's bits.
fn prefix(address: IpAddr, length: u32) -> (Range, IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            let first = address.to_bits() & !host;
            (Range::V4(first, first | host), Ipv4Addr::from_bits(first).into())
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            let first = address.to_bits() & !host;
            (Range::V6(first, first | host), Ipv6Addr::from_bits(first).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(text: &str) -> Result<Range, Fault> {
        parse(text, Form::Any, Span::default())
    }

    #[test]
    fn addresses_are_read_in_every_form() {
        assert_eq!(any("10.0.0.0/8").unwrap(), Range::V4(0x0a00_0000, 0x0aff_ffff));
        assert_eq!(any("0.0.0.0/0").unwrap(), Range::V4(0, u32::MAX));
        assert_eq!(any("::/0").unwrap(), Range::V6(0, u128::MAX));
        assert_eq!(any("::1/128").unwrap(), Range::V6(1, 1));
        assert_eq!(any("10.0.0.1-10.0.0.9").unwrap(), Range::V4(0x0a00_0001, 0x0a00_0009));
        assert_eq!(any("::2").unwrap(), Range::V6(2, 2));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/08",
            "10.0.0.0/",
            "/8",
            "10.0.0.256",
            "010.0.0.1",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-::1",
            "10.0.0.1-",
            "fe80::1%eth0",
            "",
        ] {
            assert!(any(text).is_err(), "{text}");
        }
    }
}
