//! `traffic`: makes traffic and counts it exactly.
//!
//! Options in, one JSON object on standard output out. Exit code 0 when there is a report, whatever
//! it says; 1 when the tool could not work. Not here: the tools (the library's `traffic`).

use clap::{Parser, Subcommand};
use serde::Serialize;
use std::io::{self, Write};
use std::process::ExitCode;
use twinwall_testbed::Error;
use twinwall_testbed::traffic::{
    ftp_get, ftp_serve, ftp_session, inject, pulse, sessions, socket, solicit, stream, tcp_connect,
    tcp_serve, tcp_steady, udp_push, udp_receive, udp_send,
};

/// Makes traffic and counts it exactly. Prints one JSON object; servers say `ready` on standard
/// error. Times are readings of the monotonic clock in nanoseconds.
#[derive(Debug, Parser)]
#[command(name = "traffic", version)]
struct Arguments {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Send numbered datagrams at a steady rate
    UdpSend(udp_send::Options),
    /// Receive numbered datagrams: lost, duplicated, reordered, gaps
    UdpRecv(udp_receive::Options),
    /// Send datagrams back
    UdpEcho(udp_receive::EchoOptions),
    /// Go on sending to whoever sent one datagram
    UdpPush(udp_push::Options),
    /// Send datagrams back to back
    Burst(udp_send::BurstOptions),
    /// Accept connections: echo, sink or source
    TcpServe(tcp_serve::Options),
    /// Open connections and transfer
    TcpConnect(tcp_connect::Options),
    /// Carry a small chunk every few milliseconds both ways on each of many connections
    TcpSteady(tcp_steady::Options),
    /// Serve files by FTP
    FtpServe(ftp_serve::Options),
    /// Fetch a file by FTP
    FtpGet(ftp_get::Options),
    /// Stay logged in by FTP, and fetch a file again and again in both modes
    FtpSession(ftp_session::Options),
    /// Send packets that come on standard input, byte for byte
    Inject(inject::Options),
    /// Send numbered datagrams in both directions of one session
    Stream(stream::Options),
    /// Ask for the link-layer address of neighbours, again and again
    Solicit(solicit::Options),
    /// Send a little on many TCP connections, in both directions, and note when none comes
    Pulse(pulse::Options),
    /// Write sessions into this node's connection tracking
    SessionsMake(sessions::MakeOptions),
    /// Wait until sessions are in this node's connection tracking
    SessionsWatch(sessions::WatchOptions),
    /// Note when each session appears in this node's connection tracking
    SessionsHear(sessions::HearOptions),
}

fn main() -> ExitCode {
    socket::allow_many();
    let done = match Arguments::parse().tool {
        Tool::UdpSend(options) => print(udp_send::run(&options)),
        Tool::UdpRecv(options) => print(udp_receive::run(&options)),
        Tool::UdpEcho(options) => print(udp_receive::echo(&options)),
        Tool::UdpPush(options) => print(udp_push::run(&options)),
        Tool::Burst(options) => print(udp_send::burst(&options)),
        Tool::TcpServe(options) => print(tcp_serve::run(&options)),
        Tool::TcpConnect(options) => print(tcp_connect::run(&options)),
        Tool::TcpSteady(options) => print(tcp_steady::run(&options)),
        Tool::FtpServe(options) => print(ftp_serve::run(&options)),
        Tool::FtpGet(options) => print(ftp_get::run(&options)),
        Tool::FtpSession(options) => print(ftp_session::run(&options)),
        Tool::Inject(options) => print(inject::run(&options)),
        Tool::Stream(options) => print(stream::run(&options)),
        Tool::Solicit(options) => print(solicit::run(&options)),
        Tool::Pulse(options) => print(pulse::run(&options)),
        Tool::SessionsMake(options) => print(sessions::make(&options)),
        Tool::SessionsWatch(options) => print(sessions::watch(&options)),
        Tool::SessionsHear(options) => print(sessions::hear(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("traffic: {text}");
            ExitCode::FAILURE
        }
    }
}

fn print<T: Serialize>(report: Result<T, Error>) -> Result<(), String> {
    let report = report.map_err(|error| error.to_string())?;
    let text = serde_json::to_string(&report).map_err(|error| error.to_string())?;
    writeln!(io::stdout(), "{text}").map_err(|error| error.to_string())
}
