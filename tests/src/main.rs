//! `sheshi-lab`, the lab for people. See [`sheshi_tests::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    sheshi_tests::cli::main()
}
