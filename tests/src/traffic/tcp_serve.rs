//! `tcp-serve`: accepts connections and echoes, receives or sends.

use crate::error::{Attempt, Error};
use crate::traffic::limit::{self, Limit, TICK};
use crate::traffic::report::{Connection, Tcp};
use crate::traffic::transfer::{Break, Mode, Plan, Transfer, conclude, untried};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Connections at once; more wait in the listener's queue.
const AT_ONCE: usize = 2_000;

const STACK: usize = 256 << 10;

/// Options of `tcp-serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// What to do
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    pub mode: Mode,
    /// As a source: bytes for each connection; 0 goes on until the client closes it
    #[arg(long, default_value_t = 0)]
    pub bytes: u64,
    /// As a source: bytes per second for each connection; 0 sends as fast as it goes
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Bytes per read or write
    #[arg(long, default_value_t = 16_384)]
    pub chunk: usize,
    /// End when so many connections have ended
    #[arg(long)]
    pub connections: Option<usize>,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Serves.
///
/// # Errors
/// When the address can't be had.
pub fn run(options: &Options) -> Result<Tcp, Error> {
    let limit = Limit::seconds(options.limit)?;
    let listener = TcpListener::bind(options.listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .attempt(|| format!("listen on TCP {}", options.listen))?;
    let ended = Mutex::new(Vec::new());
    let count = || ended.lock().unwrap_or_else(PoisonError::into_inner).len();
    eprintln!("ready");
    thread::scope(|scope| {
        let mut accepted = 0;
        while !limit.is_over() && count() < options.connections.unwrap_or(usize::MAX) {
            let room = accepted - count() < AT_ONCE;
            let Some((stream, peer)) = room.then(|| listener.accept().ok()).flatten() else {
                thread::sleep(TICK / 10);
                continue;
            };
            let (limit, ended) = (&limit, &ended);
            let work = move || {
                let connection = one(options, limit, stream, peer);
                ended.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            };
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)?;
            accepted += 1;
        }
        // Those that are still up end now too.
        limit.stop();
        Ok::<_, io::Error>(())
    })
    .attempt(|| "serve a connection".to_owned())?;
    Ok(Tcp::of(ended.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

fn one(options: &Options, limit: &Limit, stream: TcpStream, peer: SocketAddr) -> Connection {
    let mut connection = untried(stream.local_addr().ok(), peer);
    let transfer =
        stream.set_nonblocking(false).and_then(|()| Transfer::new(stream, limit, options.chunk));
    let mut transfer = match transfer {
        Ok(transfer) => transfer,
        Err(error) => {
            conclude(&mut connection, Err(error.into()));
            return connection;
        }
    };
    let plan = Plan { bytes: options.bytes, rate: options.rate };
    let result = match options.mode {
        Mode::Echo => transfer.give_back(),
        Mode::Sink => transfer.receive_to_end(),
        Mode::Source => transfer.send_all(plan),
    };
    // For a server the client's close is the good end.
    let result = match (options.mode, result) {
        (Mode::Echo | Mode::Sink, Err(Break::Closed)) => Ok(()),
        (_, other) => other,
    };
    transfer.report(result, connection)
}
