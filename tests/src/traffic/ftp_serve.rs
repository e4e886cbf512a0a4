//! `ftp-serve`: as much of an FTP server as a firewall's helper can be tried with.
//!
//! Every file exists, and has the size that the options give. Nothing on disk is touched.

use crate::error::{Attempt, Error};
use crate::traffic::ftp::{Control, format_port, parse_eprt, parse_port};
use crate::traffic::limit::{self, Limit, TICK};
use crate::traffic::report::{FtpServe, LISTED};
use crate::traffic::{pattern, socket};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Control connections at once; more wait in the listener's queue.
const AT_ONCE: usize = 64;

/// How long to wait for a data connection.
const DATA: Duration = Duration::from_secs(5);

/// Options of `ftp-serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Size of every file in bytes
    #[arg(long, default_value_t = 100_000)]
    pub size: u64,
    /// Bytes per second of each data connection; 0 sends as fast as it goes
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// End when so many control connections have ended
    #[arg(long)]
    pub sessions: Option<usize>,
    /// End after so many seconds at the latest
    #[arg(long = "for", value_name = "SECONDS", default_value_t = limit::DEFAULT)]
    pub limit: f64,
}

/// Serves.
///
/// # Errors
/// When the address can't be had.
pub fn run(options: &Options) -> Result<FtpServe, Error> {
    let limit = Limit::seconds(options.limit)?;
    let listener =
        listen(options.listen).attempt(|| format!("listen on TCP {}", options.listen))?;
    let ended = Mutex::new(FtpServe::default());
    eprintln!("ready");
    thread::scope(|scope| {
        let mut accepted = 0;
        loop {
            let done = lock(&ended).sessions;
            if limit.is_over() || done >= options.sessions.unwrap_or(usize::MAX) {
                break;
            }
            let room = accepted - done < AT_ONCE;
            let Some((stream, _)) = room.then(|| listener.accept().ok()).flatten() else {
                thread::sleep(TICK / 10);
                continue;
            };
            accepted += 1;
            let (limit, ended) = (&limit, &ended);
            scope.spawn(move || {
                let mut transfers = 0;
                let result = Session::new(stream, limit, options)
                    .and_then(|mut session| session.serve(&mut transfers));
                let mut ended = lock(ended);
                ended.sessions += 1;
                ended.transfers += transfers;
                if let Err(error) = result
                    && ended.errors.len() < LISTED
                {
                    ended.errors.push(error.to_string());
                }
            });
        }
        limit.stop();
    });
    Ok(ended.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn lock(report: &Mutex<FtpServe>) -> MutexGuard<'_, FtpServe> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Where the next data connection comes from.
enum Data {
    Passive(TcpListener),
    Active(SocketAddr),
}

struct Session<'a> {
    control: Control,
    limit: &'a Limit,
    size: u64,
    rate: u64,
    local: SocketAddr,
    data: Option<Data>,
}

impl<'a> Session<'a> {
    fn new(stream: TcpStream, limit: &'a Limit, options: &Options) -> io::Result<Self> {
        let local = stream.local_addr()?;
        let control = Control::new(stream, limit)?;
        let Options { size, rate, .. } = *options;
        Ok(Self { control, limit, size, rate, local, data: None })
    }

    /// To the client's QUIT, or the end of the connection.
    fn serve(&mut self, transfers: &mut usize) -> io::Result<()> {
        self.control.say("220 ready")?;
        loop {
            let line = match self.control.hear() {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                other => other?,
            };
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "USER" => self.control.say("331 any password will do")?,
                "PASS" => self.control.say("230 logged in")?,
                "TYPE" => self.control.say("200 done")?,
                "PASV" => self.passive(false)?,
                "EPSV" => self.passive(true)?,
                "PORT" => self.active(parse_port(rest))?,
                "EPRT" => self.active(parse_eprt(rest))?,
                "RETR" => *transfers += usize::from(self.retrieve()?),
                "QUIT" => return self.control.say("221 bye"),
                _ => self.control.say("502 not here")?,
            }
        }
    }

    fn passive(&mut self, extended: bool) -> io::Result<()> {
        let listener = listen(SocketAddr::new(self.local.ip(), 0))?;
        let address = listener.local_addr()?;
        self.data = Some(Data::Passive(listener));
        match format_port(address).filter(|_| !extended) {
            Some(numbers) => self.control.say(&format!("227 Entering Passive Mode ({numbers}).")),
            None if extended => {
                let port = address.port();
                self.control.say(&format!("229 Entering Extended Passive Mode (|||{port}|)"))
            }
            None => self.control.say("425 PASV is for IPv4"),
        }
    }

    fn active(&mut self, client: Option<SocketAddr>) -> io::Result<()> {
        let known = client.is_some();
        self.data = client.map(Data::Active);
        self.control.say(if known { "200 done" } else { "501 no such address" })
    }

    /// Sends a file. `false` when the client was told that it can't be.
    fn retrieve(&mut self) -> io::Result<bool> {
        let Some(data) = self.data.take() else {
            self.control.say("425 say PASV or PORT first")?;
            return Ok(false);
        };
        self.control.say("150 here it comes")?;
        let sent = self.connect(data).and_then(|stream| self.send(stream));
        match &sent {
            Ok(()) => self.control.say("226 done")?,
            Err(error) => self.control.say(&format!("425 no data connection: {error}"))?,
        }
        Ok(sent.is_ok())
    }

    fn connect(&self, data: Data) -> io::Result<TcpStream> {
        let listener = match data {
            Data::Active(client) => {
                let from = SocketAddr::new(self.local.ip(), 0);
                return socket::tcp(Some(from), client, DATA);
            }
            Data::Passive(listener) => listener,
        };
        let end = self.limit.at_most(DATA.as_secs_f64());
        while !end.is_over() {
            match listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(TICK / 10),
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn send(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(DATA))?;
        let mut buffer = [0; 8_192];
        // Twenty pieces a second where there is a rate.
        let piece = usize::try_from(self.rate / 20).unwrap_or(usize::MAX);
        let piece = if self.rate == 0 { buffer.len() } else { piece.clamp(1, buffer.len()) };
        let mut sent = 0;
        while sent < self.size {
            let left = usize::try_from(self.size - sent).unwrap_or(usize::MAX);
            let length = left.min(piece);
            if let Some(chunk) = buffer.get_mut(..length) {
                pattern::fill(chunk, sent);
                stream.write_all(chunk)?;
            }
            sent += u64::try_from(length).unwrap_or(0);
            if self.rate > 0 {
                let time = length as f64 / self.rate as f64;
                let _ = self.limit.at_most(time).sleep_until(u64::MAX);
            }
        }
        Ok(())
    }
}
