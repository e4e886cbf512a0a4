//! `ftp-get`: fetches one file from an `ftp-serve`, in active or passive mode.

use crate::error::{Attempt, Error};
use crate::traffic::address::Source;
use crate::traffic::ftp::{Control, format_eprt, format_port, parse_epsv, parse_port};
use crate::traffic::limit::{self, Limit, TICK};
use crate::traffic::report::FtpGet;
use crate::traffic::{pattern, socket};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Who opens the data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// The client.
    Passive,
    /// The server.
    Active,
}

/// Options of `ftp-get`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The server
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub to: SocketAddr,
    /// Who opens the data connection: the client (passive) or the server (active)
    #[arg(long, value_enum, default_value_t = Direction::Passive)]
    pub mode: Direction,
    /// Use EPSV and EPRT for IPv4 too; IPv6 always does
    #[arg(long)]
    pub extended: bool,
    /// The size that the file is expected to have
    #[arg(long, default_value_t = 100_000)]
    pub size: u64,
    /// Source address of the control connection, and its port
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub from: Option<Source>,
    /// How long to wait for a connection, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub connect_timeout: f64,
    /// After the login wait so many seconds before the transfer
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub pause: f64,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Fetches.
///
/// # Errors
/// When the tool itself can't work; what happens to the transfer is reported instead.
pub fn run(options: &Options) -> Result<FtpGet, Error> {
    let limit = Limit::seconds(options.limit)?;
    let within = Duration::try_from_secs_f64(options.connect_timeout)
        .map_err(io::Error::other)
        .attempt(|| "read --connect-timeout".to_owned())?;
    let extended = options.extended || options.to.is_ipv6();
    let verb = match (options.mode, extended) {
        (Direction::Passive, false) => "PASV",
        (Direction::Passive, true) => "EPSV",
        (Direction::Active, false) => "PORT",
        (Direction::Active, true) => "EPRT",
    };
    let report = FtpGet {
        complete: false,
        verb: verb.to_owned(),
        bytes: 0,
        corrupt: 0,
        control_local: None,
        data_local: None,
        data_peer: None,
        error: None,
    };
    let mut client = Client { options, limit, within, report };
    let result = client.fetch();
    let mut report = client.report;
    match result {
        Ok(()) => report.complete = report.bytes == options.size && report.corrupt == 0,
        Err(error) => report.error = Some(error.to_string()),
    }
    Ok(report)
}

struct Client<'a> {
    options: &'a Options,
    limit: Limit,
    within: Duration,
    report: FtpGet,
}

impl Client<'_> {
    fn fetch(&mut self) -> io::Result<()> {
        let from = self.options.from.and_then(|source| source.socket(0));
        let stream =
            context("control connection", socket::tcp(from, self.options.to, self.within))?;
        let local = stream.local_addr()?;
        self.report.control_local = Some(local);
        let mut control = Control::new(stream, &self.limit)?;
        expect(&mut control, "220")?;
        command(&mut control, "USER anonymous", "331")?;
        command(&mut control, "PASS test", "230")?;
        command(&mut control, "TYPE I", "200")?;
        let _ = self.limit.at_most(self.options.pause).sleep_until(u64::MAX);
        let data = match self.options.mode {
            Direction::Passive => self.fetch_passive(&mut control)?,
            Direction::Active => self.fetch_active(&mut control, local)?,
        };
        self.report.data_local = data.local_addr().ok();
        self.report.data_peer = data.peer_addr().ok();
        context("data connection", self.read(data))?;
        expect(&mut control, "226")?;
        command(&mut control, "QUIT", "221").map(drop)
    }

    fn fetch_passive(&self, control: &mut Control) -> io::Result<TcpStream> {
        let wrong = || io::Error::other("the server's answer has no address");
        let server = if self.report.verb == "PASV" {
            let answer = command(control, "PASV", "227")?;
            answer.get(3..).and_then(parse_port).ok_or_else(wrong)?
        } else {
            let answer = command(control, "EPSV", "229")?;
            SocketAddr::new(self.options.to.ip(), parse_epsv(&answer).ok_or_else(wrong)?)
        };
        let data = context("data connection", socket::tcp(None, server, self.within))?;
        command(control, "RETR file", "150")?;
        Ok(data)
    }

    fn fetch_active(&self, control: &mut Control, local: SocketAddr) -> io::Result<TcpStream> {
        let listener = TcpListener::bind(SocketAddr::new(local.ip(), 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let port = format_port(address).filter(|_| self.report.verb == "PORT");
        let line = match port {
            Some(numbers) => format!("PORT {numbers}"),
            None => format!("EPRT {}", format_eprt(address)),
        };
        command(control, &line, "200")?;
        command(control, "RETR file", "150")?;
        let end = self.limit.at_most(self.within.as_secs_f64());
        while !end.is_over() {
            match listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(TICK / 10),
                Err(error) => return context("data connection", Err(error)),
            }
        }
        context("data connection", Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads the file to the end of the connection, and checks it.
    fn read(&mut self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(TICK))?;
        let mut buffer = [0; 8_192];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    self.report.corrupt += pattern::count_wrong(bytes, self.report.bytes);
                    self.report.bytes += u64::try_from(length).unwrap_or(0);
                }
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

pub(super) fn command(control: &mut Control, line: &str, code: &str) -> io::Result<String> {
    context(line, control.say(line))?;
    expect(control, code)
}

pub(super) fn expect(control: &mut Control, code: &str) -> io::Result<String> {
    let answer = context("control connection", control.hear())?;
    if answer.starts_with(code) {
        Ok(answer)
    } else {
        Err(io::Error::other(format!("the server says: {answer}")))
    }
}

pub(super) fn context<T>(what: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{what}: {error}")))
}
