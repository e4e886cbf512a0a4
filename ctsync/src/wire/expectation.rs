//! What an expectation has besides its tuple.

use super::bytes::{Malformed, Reader, Writer};
use super::fields::{get_name, get_option};
use super::tuples::{get_tuple, put_tuple};
use crate::model::Expectation;

/// The longest name of an expectation's function, in bytes.
const FUNCTION_LEN: usize = 31;

pub(super) fn put(writer: &mut Writer, expectation: Option<&Expectation>) {
    writer.u8(expectation.is_some().into());
    let Some(expectation) = expectation else { return };
    put_tuple(writer, &expectation.mask);
    writer.number(expectation.flags.into());
    writer.number(expectation.class.into());
    writer.u8(expectation.nat.is_some().into());
    if let Some((direction, tuple)) = &expectation.nat {
        writer.number((*direction).into());
        put_tuple(writer, tuple);
    }
    writer.counted(expectation.function.as_deref().unwrap_or_default().as_bytes());
}

pub(super) fn get(reader: &mut Reader<'_>) -> Result<Option<Expectation>, Malformed> {
    if !get_option(reader, "an expectation")? {
        return Ok(None);
    }
    let mask = get_tuple(reader)?;
    let flags = reader.number32("an expectation's flags")?;
    let class = reader.number32("an expectation's class")?;
    let nat = if get_option(reader, "an expectation's translation")? {
        let direction = reader.number32("a direction")?;
        Some((direction, get_tuple(reader)?))
    } else {
        None
    };
    let function = get_name(reader, FUNCTION_LEN, "an expectation's function")?;
    Ok(Some(Expectation { mask, flags, class, nat, function }))
}
