//! The `twinwall` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    twinwall_cli::main(std::env::args_os())
}
