//! What a daemon that died left behind: addresses, macvlan interfaces, the gate.
//!
//! The file `vrrp.json` in the state directory lists what may be there. It is written before
//! anything is put anywhere, not while taking over, and removed when everything is gone.

use super::bound::{Bound, macvlan_name};
use super::placement::prefix_length;
use crate::macvlan;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use twinwall_netlink::address::{self, Batch};
use twinwall_netlink::gate::Gate;
use twinwall_netlink::link;
use twinwall_netlink::socket::Socket;

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// What may be there.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Leftovers {
    /// Addresses by the interface that they are on.
    addresses: Vec<(String, IpAddr)>,
}

/// Notes what these groups may put anywhere.
///
/// # Errors
/// When the file can't be written.
pub(super) fn note(state_dir: &Path, groups: &[Bound]) -> io::Result<()> {
    let mut leftovers = Leftovers::default();
    for (router, leg) in groups.iter().flat_map(Bound::legs) {
        let device = macvlan_name(router, leg.parent).unwrap_or_else(|| router.interface.clone());
        leftovers.addresses.extend(leg.addresses.iter().map(|address| (device.clone(), *address)));
    }
    fs::create_dir_all(state_dir)?;
    let (path, new) = (path(state_dir), state_dir.join("vrrp.json.new"));
    fs::write(&new, serde_json::to_vec(&leftovers)?)?;
    fs::rename(new, path)
}

/// Removes what a daemon that ended without cleaning up left behind. What can't be removed is
/// logged.
pub fn release(state_dir: &Path) {
    let leftovers = match read(state_dir) {
        Ok(leftovers) => leftovers,
        Err(error) => {
            tracing::warn!(%error, "cannot read vrrp.json: addresses may be left behind");
            Leftovers::default()
        }
    };
    if let Err(error) = take_away(&leftovers) {
        tracing::warn!(%error, "cannot remove the virtual addresses of the daemon before");
        return;
    }
    if let Err(error) = Gate::remove() {
        tracing::warn!(%error, "cannot remove the gate of the daemon before");
    }
    match fs::remove_file(path(state_dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "cannot remove vrrp.json");
        }
        _ => {}
    }
}

fn take_away(leftovers: &Leftovers) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut socket = Socket::open_route().map_err(|error| text(&error))?;
    let links = link::list().map_err(|error| text(&error))?;
    let present = address::list().map_err(|error| text(&error))?;
    let mut batch = Batch::new();
    for (name, address) in &leftovers.addresses {
        let Some(link) = links.iter().find(|link| link.name == *name) else { continue };
        let length = prefix_length(*address);
        let there = present.iter().any(|known| {
            (known.interface, known.address, known.prefix_length) == (link.index, *address, length)
        });
        if there {
            tracing::info!("removing {address} from {name}: left behind by the daemon before");
            batch.remove(link.index, *address, length);
        }
    }
    if !batch.steps().is_empty() {
        batch.commit(&mut socket).map_err(|errors| {
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })?;
    }
    for link in links.iter().filter(|link| macvlan::is_ours(link)) {
        tracing::info!("removing interface {}: left behind by the daemon before", link.name);
        link::delete(&mut socket, link.index).map_err(|error| text(&error))?;
    }
    Ok(())
}

fn read(state_dir: &Path) -> io::Result<Leftovers> {
    let path = path(state_dir);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Leftovers::default()),
        Err(error) => return Err(error),
        Ok(file) if file.len() > MAX_FILE => return Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => {}
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("vrrp.json")
}
