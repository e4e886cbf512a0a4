//! The daemon's own settings: a YAML file beside the policy.
//!
//! Goes in: the text of the file. Comes out: [`Config`], or every fault of it at its place, in the
//! words and the form that policies have ([`twinwall_policy::diag`]). Not here: the policy, and
//! what the settings do.

mod sync;
mod value;
mod vrrp;

use crate::vrrp::settings;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use twinwall_policy::SourceText;
use twinwall_policy::diag::render::{self, Style};
use twinwall_policy::diag::{Fault, Faults, codes};
use twinwall_policy::form::{Keys, Record};
use twinwall_policy::source::Sources;
use twinwall_policy::yaml::{self, Limits};

/// Where the file is unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/twinwall/twinwalld.yaml";

/// Room for some thousand virtual routers.
const LIMITS: Limits =
    Limits { bytes: 1 << 20, nodes: 100_000, depth: 16, scalar: 4096, flow: 64 << 10 };

/// What the daemon is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The groups of virtual routers; none without VRRP.
    pub groups: Vec<settings::Group>,
    /// Session replication, if there is any.
    pub sync: Option<crate::sync::settings::Settings>,
}

const FILE: Keys<2> = Keys { of: "the daemon's settings", known: ["vrrp", "sync"], later: &[] };

impl Config {
    /// Reads the settings of a file. The default file need not be there; `closing` says what
    /// becomes of the settings in force when this one is refused.
    ///
    /// # Errors
    /// The message for the operator.
    pub fn read(path: &Path, closing: &str) -> Result<Self, String> {
        let text = match text(path) {
            Ok(text) => text,
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && path == Path::new(DEFAULT_PATH) =>
            {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(format!("error: cannot read {}: {error}\n{closing}", path.display()));
            }
        };
        Self::parse(SourceText { path: path.display().to_string(), text }, closing)
    }

    /// Reads the settings of a text.
    ///
    /// # Errors
    /// The message for the operator.
    pub fn parse(source: SourceText, closing: &str) -> Result<Self, String> {
        let files = [source];
        let sources = Sources::new(&files);
        let mut faults = Faults::new();
        let mut config = Self::default();
        for (source, base) in sources.iter() {
            match yaml::parse(&source.text, base, &LIMITS, 1) {
                Ok(tree) if tree.is_nothing() => {}
                Ok(tree) => {
                    if let Some(record) = Record::read(&tree, &FILE, &mut faults) {
                        let [section, replication] = record.values;
                        config.groups = section
                            .map(|(_, value)| vrrp::groups(value, &mut faults))
                            .unwrap_or_default();
                        config.sync =
                            replication.and_then(|(_, value)| sync::settings(value, &mut faults));
                    }
                }
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.has_errors() {
            return Ok(config);
        }
        let (diagnostics, _, _) = faults.located(&sources);
        Err(render::text(&diagnostics, Style { colour: false, closing: Some(closing) }))
    }
}

/// The text of a file, which may be a little longer than what is accepted.
fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LIMITS.bytes as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// The fault of two things with one name.
fn named_twice(name: &str, of: &str) -> Fault {
    Fault::error(codes::DUPLICATE_NAME, format!("there are two {of} `{name}`"))
}
