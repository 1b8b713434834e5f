//! The `sheshi` command: reads the command line, does what it says, and turns the outcome into an exit code.

use std::{io::IsTerminal, process::ExitCode};

use clap::{CommandFactory, Parser};
use sheshi::{
    advertise, certifier,
    cli::{Cli, Command},
    commands::{self, Failure},
    daemon, doctor, report, resolve, vouchers,
};

fn main() -> ExitCode {
    // hickory's warnings print names that guests asked for: they may not reach a log that is kept.
    let log = tracing_subscriber::EnvFilter::try_from_env("SHESHI_LOG")
        .unwrap_or_else(|_| "info,hickory_net=off,hickory_proto=off,hickory_server=off".into());
    let terminal = std::io::stderr().is_terminal();
    let format = tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).with_target(false);
    // Under systemd the journal keeps the time.
    if terminal {
        format.init();
    } else {
        format.with_ansi(false).without_time().init();
    }
    let result = match Cli::parse().command {
        Command::Gateway(args) => daemon::run(&args.config),
        Command::Resolve(args) => resolve::run(&args),
        Command::Check(args) => commands::check(&args),
        Command::Compile(args) => commands::compile(&args),
        Command::Explain(args) => commands::explain(&args),
        Command::Status(args) => commands::status(&args),
        Command::Guests(args) => commands::guests(&args),
        Command::Vouchers(args) => vouchers::run(&args),
        Command::Consents(args) => commands::consents(&args),
        Command::Expel(args) => commands::expel(&args),
        Command::Objections(args) => commands::objections(&args),
        Command::Reload(args) => commands::reload(&args),
        Command::Join(args) => commands::join(&args),
        Command::Approve(args) => commands::approve(&args),
        Command::Attest { action } => certifier::attest(&action),
        Command::Challenge { action } => certifier::challenge(&action),
        Command::Report(args) => report::run(&args),
        Command::Rollback(args) => commands::rollback(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Advertise(args) => advertise::run(&args.config),
        Command::Probe(args) => return probe(&args),
        Command::Drill(args) => sheshi::probe::drill::run(&args),
        Command::Guest(args) => sheshi::probe::guest::run(&args.config),
        Command::Dnsmasq(args) => daemon::dnsmasq(&args.config),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "sheshi", &mut std::io::stdout());
            Ok(())
        }
        Command::Man { folder } => commands::man(&folder),
    };
    end(result.map(|()| 0))
}

fn probe(args: &sheshi::cli::ProbeArgs) -> ExitCode {
    end(commands::probe(args))
}

fn end(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Refused(text)) => told(&text, 2),
        Err(Failure::Failed(text)) => told(&text, 1),
    }
}

fn told(text: &str, code: u8) -> ExitCode {
    if !text.is_empty() {
        eprintln!("{text}");
    }
    ExitCode::from(code)
}
