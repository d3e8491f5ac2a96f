//! `pgsteer`: see `pgsteer --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgsteer_proxy::cli::main()
}
