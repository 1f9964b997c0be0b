//! `veilpost-lab`: measures what observers can learn, with the engines that ship.

use std::process::ExitCode;

fn main() -> ExitCode {
    veilpost_lab::cli::main()
}
