//! The `veilpost` binary: the command line and, as `veilpost daemon`, the client's daemon.

use std::process::ExitCode;
use veilpost_client::{
    cli::{self, Surroundings, Terminal},
    runtime,
};

fn main() -> ExitCode {
    let exit = cli::run(std::env::args_os(), Surroundings::of_process(), Terminal::of_process(), runtime::start);
    ExitCode::from(exit as u8)
}
