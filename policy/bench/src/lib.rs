//! The classifier's figures, beside those of other engines.
//!
//! ```text
//! options ──► classbench (files) ──┐
//!         └─► generate ────────────┴─► compare ──► report     one load
//!         └─► table ──► compare, many times ──► document      the whole table
//! ```
//!
//! Goes in: ClassBench files, or family, size and seed. Comes out: figures, as text, as JSON or in
//! the project's document. Not here: the engine, which is the policy crate's.

pub mod classbench;
pub mod compare;
pub mod document;
pub mod generate;
pub mod machine;
pub mod measure;
pub mod model;
pub mod options;
pub mod oracle;
pub mod peers;
pub mod report;
pub mod subjects;
pub mod table;

use compare::Settings;
use generate::Load;
use options::Options;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A ClassBench file can't be used.
    #[error(transparent)]
    File(#[from] classbench::Error),
    /// The document can't be read.
    #[error("reading {}: {source}", path.display())]
    Document {
        /// The document.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder can't be written.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard output is gone.
    #[error("writing the figures: {0}")]
    Output(io::Error),
    /// The figures have no form in JSON.
    #[error("writing the figures as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Does what the command line asks for, and prints it. Whether every answer was right.
///
/// # Errors
///
/// When a file can't be used, or the figures can't be written.
pub fn run(options: &Options) -> Result<bool, Error> {
    if options.table {
        return whole_table(options);
    }
    let load = load(options)?;
    if let Some(folder) = &options.write {
        write(folder, options, &load)?;
        return Ok(true);
    }
    let figures = compare::measure(&load, &settings(options));
    let text = if options.json { serde_json::to_string(&figures)? + "\n" } else { figures.text() };
    io::stdout().write_all(text.as_bytes()).map_err(Error::Output)?;
    Ok(figures.mismatches == 0)
}

/// The table goes to standard output, and into the document if one is named.
fn whole_table(options: &Options) -> Result<bool, Error> {
    let settings = Settings { peers: true, ..settings(options) };
    let (section, right) = table::table(
        &settings,
        options.classbench.as_deref(),
        options.largest as usize,
        &options.command,
    )?;
    io::stdout().write_all(section.as_bytes()).map_err(Error::Output)?;
    if let Some(path) = &options.document {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(|source| Error::Document { path: path.clone(), source })?,
        };
        std::fs::write(path, document::with_section(&text, &section))
            .map_err(|source| Error::Write { path: path.clone(), source })?;
    }
    Ok(right)
}

fn settings(options: &Options) -> Settings {
    Settings {
        rounds: options.rounds as usize,
        updates: options.updates as usize,
        readers: options.readers as usize,
        peers: options.peers,
        rte_acl: options.rte_acl.clone(),
    }
}

fn load(options: &Options) -> Result<Load, Error> {
    if let (Some(rules), Some(trace)) = (&options.rules, &options.trace) {
        return Ok(classbench::load(rules, trace)?);
    }
    let size = options.size as usize;
    let family = options.generate.unwrap_or(generate::Family::Mixed);
    let headers = options.headers.map(|count| count as usize);
    let headers = headers.unwrap_or_else(|| generate::headers_for(family, size));
    Ok(generate::load(family, size, headers, options.seed))
}

/// Writes rules and headers as `FAMILY_SIZE.rules` and `FAMILY_SIZE.trace`.
fn write(folder: &Path, options: &Options, load: &Load) -> Result<(), Error> {
    let family = options.generate.map_or_else(String::new, |family| family.to_string());
    let save = |kind: &str, text: String| {
        let path = folder.join(format!("{family}_{}.{kind}", options.size));
        std::fs::write(&path, text).map_err(|source| Error::Write { path, source })
    };
    std::fs::create_dir_all(folder)
        .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
    save("rules", classbench::write_rules(&load.rules))?;
    save("trace", classbench::write_trace(&load.headers))
}
