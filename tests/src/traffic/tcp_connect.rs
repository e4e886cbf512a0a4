//! `tcp-connect`: many connections at once, to a `tcp-serve` in the same mode.

use crate::clock;
use crate::error::{Attempt, Error};
use crate::traffic::address::Source;
use crate::traffic::limit::{self, Limit};
use crate::traffic::reception::milliseconds;
use crate::traffic::report::Outcome;
use crate::traffic::report::{Connection, Tcp};
use crate::traffic::socket;
use crate::traffic::transfer::{Break, Mode, Plan, Transfer, Watch, conclude, each, untried};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Options of `tcp-connect`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to connect
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub to: SocketAddr,
    /// How many connections, all at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub connections: u32,
    /// What the server does: the client exchanges (echo), sends (sink), or receives (source)
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    pub mode: Mode,
    /// Bytes for each connection; 0 goes on until the time is over
    #[arg(long, default_value_t = 1000)]
    pub bytes: u64,
    /// Bytes per second that each connection sends; 0 sends as fast as it goes
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Bytes per write
    #[arg(long, default_value_t = 1000)]
    pub chunk: usize,
    /// Then keep the connections open for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub hold: f64,
    /// Each connection is followed by another one, until the time is over
    #[arg(long)]
    pub again: bool,
    /// List stalls of at least so many milliseconds
    #[arg(long, value_name = "MILLISECONDS")]
    pub stalls: Option<u64>,
    /// A connection without progress for so many seconds is broken. One that breaks is told on
    /// standard error at once
    #[arg(long, value_name = "SECONDS")]
    pub give_up: Option<u64>,
    /// Source address, and first source port
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub from: Option<Source>,
    /// How long to wait for a connection, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub connect_timeout: f64,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Connects and transfers.
///
/// # Errors
/// When threads can't be had; what happens to a connection is reported instead.
pub fn run(options: &Options) -> Result<Tcp, Error> {
    let limit = Limit::seconds(options.limit)?;
    let connections = each(options.connections, |index| series(options, &limit, index))
        .attempt(|| "run the connections".to_owned())?;
    Ok(Tcp::of(connections.into_iter().flatten().collect()))
}

/// One connection, or one after the other.
fn series(options: &Options, limit: &Limit, index: u32) -> Vec<Connection> {
    let mut all = Vec::new();
    loop {
        let connection = one(options, limit, index);
        let broken = !matches!(connection.outcome, Outcome::Completed | Outcome::Stalled);
        if broken && options.give_up.is_some() {
            let Connection { local, peer, outcome, error, ended_ns, sent, received, .. } =
                &connection;
            eprintln!(
                "broken: {local:?} to {peer}: {outcome:?} ({error:?}) at {ended_ns} after {sent} \
                 bytes sent and {received} received"
            );
        }
        all.push(connection);
        if !options.again || limit.is_over() {
            return all;
        }
        if broken {
            // Not one after the other without end where nobody listens.
            let _ = limit.at_most(0.1).sleep_until(u64::MAX);
        }
    }
}

fn one(options: &Options, limit: &Limit, index: u32) -> Connection {
    let mut connection = untried(None, options.to);
    let begun = clock::now();
    match connect(options, index) {
        Ok(stream) => {
            connection.connect_ms = milliseconds(clock::now() - begun).max(0.001);
            connection.local = stream.local_addr().ok();
            work(options, limit, stream, connection)
        }
        Err(error) => {
            connection.ended_ns = clock::now();
            conclude(&mut connection, Err(error.into()));
            connection
        }
    }
}

fn connect(options: &Options, index: u32) -> io::Result<TcpStream> {
    let from = match options.from {
        Some(source) => {
            Some(source.socket(index).ok_or_else(|| io::Error::other("no such source port"))?)
        }
        None => None,
    };
    let within = Duration::try_from_secs_f64(options.connect_timeout).unwrap_or(Duration::ZERO);
    socket::tcp(from, options.to, within)
}

fn watch(options: &Options) -> Watch {
    let within = |unit: u64| move |number: u64| number.saturating_mul(unit);
    Watch {
        list: options.stalls.map_or(u64::MAX, within(1_000_000)),
        give_up: options.give_up.map_or(u64::MAX, within(1_000_000_000)),
    }
}

fn work(
    options: &Options,
    limit: &Limit,
    stream: TcpStream,
    mut connection: Connection,
) -> Connection {
    let mut transfer = match Transfer::new(stream, limit, options.chunk) {
        Ok(transfer) => transfer.watched(watch(options)),
        Err(error) => {
            conclude(&mut connection, Err(error.into()));
            return connection;
        }
    };
    let plan = Plan { bytes: options.bytes, rate: options.rate };
    let mut result = match options.mode {
        Mode::Echo => transfer.exchange(plan),
        Mode::Sink => transfer.send_all(plan),
        Mode::Source => transfer.receive_all(plan),
    };
    if options.bytes == 0 && matches!(result, Err(Break::Time)) {
        result = Ok(());
    }
    // A sink has closed the connection once it had everything.
    if result.is_ok() && options.mode != Mode::Sink {
        result = transfer.hold(options.hold);
    }
    transfer.report(result, connection)
}
