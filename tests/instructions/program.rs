//! The program, built for counting its instructions.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgsteer_proxy::cli::main()
}
