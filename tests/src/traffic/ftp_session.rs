//! `ftp-session`: stays logged in to an `ftp-serve` and fetches its file again and again, in passive
//! and active mode by turns.
//!
//! A transfer that comes to nothing is listed, and the next one tried over the same control
//! connection; the tool ends early only when that one is gone.

use crate::clock;
use crate::error::{Attempt, Error};
use crate::traffic::ftp::{Control, format_eprt, format_port, parse_epsv, parse_port};
use crate::traffic::ftp_get::{command, context, expect};
use crate::traffic::limit::{self, Limit, TICK};
use crate::traffic::report::{FtpSession, LISTED};
use crate::traffic::{pattern, socket};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// How long a data connection may take to come up, in seconds: the server waits for 5.
const CONNECT: f64 = 8.0;
/// How long a data connection may bring nothing, in seconds.
const SILENCE: f64 = 15.0;

/// Options of `ftp-session`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The server
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub to: SocketAddr,
    /// The size that the file is expected to have
    #[arg(long, default_value_t = 100_000)]
    pub size: u64,
    /// Seconds between two transfers
    #[arg(long, value_name = "SECONDS", default_value_t = 0.2)]
    pub pause: f64,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Fetches until the time is over.
///
/// # Errors
/// When the login fails; what happens later is reported instead.
pub fn run(options: &Options) -> Result<FtpSession, Error> {
    let limit = Limit::seconds(options.limit)?;
    let mut client =
        Client::log_in(options, limit).attempt(|| format!("log in at ftp://{}", options.to))?;
    eprintln!("ready");
    while !client.limit.is_over() {
        if let Err(error) = client.fetch_next() {
            if !client.limit.is_over() {
                eprintln!("broken: control connection: {error} at {}", clock::now());
                client.report.lost = Some(error.to_string());
            }
            break;
        }
        let _ = client.limit.at_most(options.pause).sleep_until(u64::MAX);
    }
    Ok(client.report)
}

/// What became of a transfer, when the control connection still works.
enum Fetched {
    Whole,
    Failed(String),
}

struct Client<'a> {
    options: &'a Options,
    limit: Limit,
    local: SocketAddr,
    control: Control,
    active: bool,
    report: FtpSession,
}

impl<'a> Client<'a> {
    fn log_in(options: &'a Options, limit: Limit) -> io::Result<Self> {
        let stream = socket::tcp(None, options.to, Duration::from_secs(5))?;
        let local = stream.local_addr()?;
        let mut control = Control::new(stream, &limit)?;
        expect(&mut control, "220")?;
        command(&mut control, "USER anonymous", "331")?;
        command(&mut control, "PASS test", "230")?;
        command(&mut control, "TYPE I", "200")?;
        Ok(Self { options, limit, local, control, active: false, report: FtpSession::default() })
    }

    /// One transfer. An error is one of the control connection.
    fn fetch_next(&mut self) -> io::Result<()> {
        let begun = clock::now();
        let mode = usize::from(self.active);
        let fetched = if self.active { self.fetch_active() } else { self.fetch_passive() };
        self.active = !self.active;
        let fetched = fetched?;
        if self.limit.is_over() {
            return Ok(());
        }
        let count = |counts: &mut [u64; 2]| {
            counts.iter_mut().skip(mode).take(1).for_each(|count| *count += 1);
        };
        count(&mut self.report.tried);
        match fetched {
            Fetched::Whole => count(&mut self.report.complete),
            Fetched::Failed(reason) => {
                let mode = if mode == 0 { "passive" } else { "active" };
                let now = clock::now();
                eprintln!("failed: {mode} transfer: {reason} at {now}");
                if self.report.failed.len() < LISTED {
                    self.report.failed.push((begun, now, format!("{mode}: {reason}")));
                }
            }
        }
        Ok(())
    }

    fn fetch_passive(&mut self) -> io::Result<Fetched> {
        let wrong = || io::Error::other("the server's answer has no address");
        let to = self.options.to;
        let server = if to.is_ipv4() {
            let answer = command(&mut self.control, "PASV", "227")?;
            answer.get(3..).and_then(parse_port).ok_or_else(wrong)?
        } else {
            let answer = command(&mut self.control, "EPSV", "229")?;
            SocketAddr::new(to.ip(), parse_epsv(&answer).ok_or_else(wrong)?)
        };
        let data = match socket::tcp(None, server, Duration::from_secs_f64(CONNECT)) {
            Ok(data) => data,
            Err(error) => return Ok(Fetched::Failed(format!("cannot connect: {error}"))),
        };
        command(&mut self.control, "RETR file", "150")?;
        let read = self.read(data);
        self.conclude(read)
    }

    fn fetch_active(&mut self) -> io::Result<Fetched> {
        let listener = TcpListener::bind(SocketAddr::new(self.local.ip(), 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let line = match format_port(address) {
            Some(numbers) => format!("PORT {numbers}"),
            None => format!("EPRT {}", format_eprt(address)),
        };
        command(&mut self.control, &line, "200")?;
        command(&mut self.control, "RETR file", "150")?;
        let end = self.limit.at_most(CONNECT);
        let accepted = loop {
            match listener.accept() {
                Ok((stream, _)) => break Ok(stream),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => break Err(error),
                Err(_) if end.is_over() => break Err(io::ErrorKind::TimedOut.into()),
                Err(_) => thread::sleep(TICK / 10),
            }
        };
        let read = context("not connected to", accepted).and_then(|stream| self.read(stream));
        self.conclude(read)
    }

    /// What the server says of a transfer.
    fn conclude(&mut self, read: io::Result<u64>) -> io::Result<Fetched> {
        let answer = context("control connection", self.control.hear())?;
        Ok(match read {
            Ok(bytes) if bytes == self.options.size && answer.starts_with("226") => Fetched::Whole,
            Ok(bytes) => Fetched::Failed(format!("{bytes} bytes; the server says: {answer}")),
            Err(error) => Fetched::Failed(format!("{error}; the server says: {answer}")),
        })
    }

    /// Reads the file to the end of the connection, and checks it.
    fn read(&mut self, mut stream: TcpStream) -> io::Result<u64> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(TICK))?;
        let mut buffer = [0; 8_192];
        let mut bytes = 0;
        let mut end = self.limit.at_most(SILENCE);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(bytes),
                Ok(length) => {
                    let piece = buffer.get(..length).unwrap_or_default();
                    self.report.corrupt += pattern::count_wrong(piece, bytes);
                    bytes += u64::try_from(length).unwrap_or(0);
                    end = self.limit.at_most(SILENCE);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if end.is_over() {
                return Err(io::Error::other(format!("nothing comes after {bytes} bytes")));
            }
        }
    }
}
