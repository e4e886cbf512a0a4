//! Which form of the queue expression this kernel has.

use super::chains::QueueForm;
use crate::nft::outcome::{self, Unheard};
use crate::nft::sets::{self, TableName};
use crate::nft::transaction::{Error, Transaction};
use crate::socket::Socket;
use crate::wire::Writer;
use nftnl::{Chain, MsgType, ProtoFamily, Table};
use std::ffi::CString;

/// Tries nft's own expression and then the xtables target, each in a transaction that makes a
/// table with one rule in a chain without a hook and deletes it again: no packet ever sees it.
/// Takes 20 to 30 ms.
pub(super) fn queue_form(socket: &mut Socket) -> Result<Option<QueueForm>, Error> {
    for (form, queue) in [
        (QueueForm::Native, outcome::queue_native(0, 1, Unheard::GoesOn)),
        (QueueForm::Compat, outcome::queue_compat(0, 1, Unheard::GoesOn)),
    ] {
        let name = format!("twinwall-probe-{}", std::process::id());
        let Ok(text) = CString::new(name.as_str()) else { return Ok(None) };
        let table = Table::new(&text, ProtoFamily::Inet);
        let mut tx = Transaction::new();
        tx.push(&table, MsgType::Add, "make a table to probe with");
        tx.push(&Chain::new(c"probe", &table), MsgType::Add, "make a chain to probe with");
        tx.rule(&table, "probe", "probe", &[queue]);
        let mut writer = Writer::default();
        let family = libc::NFPROTO_INET as u8;
        sets::write_delete_table(&mut writer, TableName { family, name: &name });
        tx.push_raw(&mut writer, "delete the table to probe with");
        match tx.commit(socket) {
            Ok(()) => return Ok(Some(form)),
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
