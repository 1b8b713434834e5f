//! The command line `sheshi-lab`.

use std::{
    env, fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use nix::{
    sys::signal::{SigSet, Signal},
    unistd::Uid,
};

use crate::{
    config, enter,
    error::{Doing, LabError},
    inside, internet,
    lab::{self, Lab},
    options::{GatewayKind, Ipv6, Isolation, Options},
};

/// A live hotspot on this machine: an internet, the gateway and guests, in network namespaces of their own.
///
/// Needs no root and touches nothing of the machine's network. When it ends, nothing is left.
#[derive(Parser)]
#[command(name = "sheshi-lab", version, max_term_width = 100)]
struct Cli {
    /// The lab's folder, where several run at once.
    #[arg(long, global = true, value_name = "FOLDER", env = "SHESHI_LAB")]
    lab: Option<PathBuf>,
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start the lab and keep it until Ctrl-C.
    Up {
        /// Folder with block lists (default: the small ones that ship with sheshi).
        #[arg(long, value_name = "DIR")]
        lists: Option<PathBuf>,
        /// Policy of the gateway (default: examples/policy.toml; with --lists examples/policy-public-lists.toml).
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// How guests get IPv6.
        #[arg(long, value_enum, default_value = "nat66")]
        ipv6: IpVersion6,
        /// How many guests there are.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=20))]
        guests: u8,
        /// A router without sheshi instead: forwards and resolves for anybody. To see what attacks look like when they work.
        #[arg(long)]
        naive: bool,
        /// Without a user namespace; needs root. Each process of the gateway then has an account of its own.
        #[arg(long)]
        root: bool,
        /// The Unix socket of a dashboard (sheshi-dashboard serve --socket), for the gateway to join.
        #[arg(long, value_name = "SOCKET")]
        dashboard: Option<PathBuf>,
        /// Leave the lab's folder (logs, state) when it ends.
        #[arg(long)]
        keep: bool,
    },
    /// Run a program as somebody in the lab: internet, gateway, guest1, guest2 …
    #[command(
        after_help = "Examples:\n  sheshi-lab exec guest1 -- dig pornhub.com\n  sheshi-lab exec guest1 -- curl -v http://neverssl.com/\n  sheshi-lab exec gateway -- nft list ruleset\n  sheshi-lab exec guest2 -- bash"
    )]
    Exec {
        /// Who: internet, gateway, guest1, guest2 …
        who: String,
        /// The program and its arguments.
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// End the lab that is running.
    Down,
    /// Show what runs in the lab.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// First stage of a lab: leaves the machine's namespaces.
    #[command(hide = true)]
    Leave { folder: PathBuf },
    /// Second stage of a lab: its process 1.
    #[command(hide = true)]
    Init { folder: PathBuf },
    /// The internet of a lab.
    #[command(hide = true)]
    Internet { folder: PathBuf },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum IpVersion6 {
    /// The provider routes a prefix to the gateway.
    Routed,
    /// A private prefix, translated by the gateway.
    Nat66,
    /// None.
    Off,
}

/// Runs the command line. Exit codes: 0 done, 1 failed, 2 refused input; `exec` gives the program's own.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let folder = cli.lab.clone().unwrap_or_else(default_folder);
    match run(cli.command, &folder) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(problem) => {
            eprintln!("sheshi-lab: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Where the lab of this account is.
fn default_folder() -> PathBuf {
    env::temp_dir().join(format!("sheshi-lab-{}", Uid::effective()))
}

fn run(command: Action, folder: &Path) -> Result<i32, LabError> {
    match command {
        Action::Up { lists, policy, ipv6, guests, naive, root, dashboard, keep } => {
            let options = Options {
                gateway: if naive { GatewayKind::Naive } else { GatewayKind::Sheshi },
                ipv6: match ipv6 {
                    IpVersion6::Routed => Ipv6::Routed,
                    IpVersion6::Nat66 => Ipv6::Nat66,
                    IpVersion6::Off => Ipv6::Off,
                },
                isolation: if root { Isolation::Root } else { Isolation::Rootless },
                guests,
                lists,
                policy,
                dashboard,
                keep,
                probes: !naive,
                ..Options::default()
            };
            up(folder, options).map(|()| 0)
        }
        Action::Exec { who, command } => enter::run(folder, &who, &command),
        Action::Down => lab::down(folder).map(|()| 0),
        Action::Status { json } => status(folder, json).map(|()| 0),
        Action::Leave { folder } => Ok(inside::leave(&folder)),
        Action::Init { folder } => Ok(inside::init::run(&folder)),
        Action::Internet { folder } => internet::run(&folder).map(|()| 0),
    }
}

fn up(folder: &Path, options: Options) -> Result<(), LabError> {
    if lab::status(folder).is_ok() {
        return Err(LabError::Running(folder.into()));
    }
    make_folder(folder)?;
    // Before any thread starts: all of them must leave these signals to us.
    let mut signals = SigSet::empty();
    // SIGCHLD says that the lab was ended by `sheshi-lab down`.
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block().doing(|| "taking over Ctrl-C".into())?;
    let (naive, city) = (options.gateway == GatewayKind::Naive, options.dashboard.is_some());
    let guests = options.guests;
    eprintln!("starting the lab …");
    let mut lab = Lab::start_in(folder.into(), options)?;
    for number in 1..=guests {
        lab.guest(&format!("guest{number}")).join().map_err(|problem| lab.explain(problem))?;
    }
    status(folder, false)?;
    if lab.options().probes {
        eprintln!("running the drills: the filter stopped, a marked name …");
        match lab.drill("all") {
            Ok(told) => println!("{}", told.trim_end()),
            Err(problem) => eprintln!("{problem}"),
        }
    }
    println!("{}", what_next(folder, naive, city));
    // Other children end too; only the lab's own end is ours.
    while signals.wait().doing(|| "waiting for Ctrl-C".into())? == Signal::SIGCHLD && !lab.has_ended() {}
    eprintln!("\nending the lab …");
    drop(lab);
    Ok(())
}

/// Makes the lab's folder afresh; what a lab left that was cut off goes, unless it is somebody else's.
fn make_folder(folder: &Path) -> Result<(), LabError> {
    if let Ok(found) = fs::symlink_metadata(folder) {
        if !found.is_dir() || found.uid() != Uid::effective().as_raw() {
            return Err(LabError::Refused(format!(
                "{} is somebody else's: name another folder with --lab",
                folder.display()
            )));
        }
        let left =
            folder.join("lab.json").exists() || fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        if !left {
            return Err(LabError::Refused(format!("{} is no lab's folder: name another with --lab", folder.display())));
        }
        fs::remove_dir_all(folder).doing(|| format!("removing what an earlier lab left in {}", folder.display()))?;
    }
    fs::DirBuilder::new().mode(0o700).create(folder).doing(|| format!("making {}", folder.display()))
}

fn status(folder: &Path, json: bool) -> Result<(), LabError> {
    let status = lab::status(folder)?;
    if json {
        let text =
            serde_json::to_string_pretty(&status).map_err(std::io::Error::from).doing(|| "writing JSON".into())?;
        println!("{text}");
        return Ok(());
    }
    println!("{:<14} {:<10} {:<8} STARTS", "PROCESS", "PLACE", "STATE");
    for (name, process) in &status.processes {
        let state = if process.pid.is_some() { "running" } else { "ended" };
        let end = process.last_end.as_deref().map(|end| format!("  (last end: {end})")).unwrap_or_default();
        println!("{name:<14} {:<10} {state:<8} {}{end}", process.place, process.starts);
    }
    Ok(())
}

fn what_next(folder: &Path, naive: bool, city: bool) -> String {
    let program = env::args().next().unwrap_or_else(|| "sheshi-lab".into());
    let option = if folder == default_folder() { String::new() } else { format!(" --lab {}", folder.display()) };
    let step = |who: &str, what: &str| format!("  {program} exec{option} {who} -- {what}\n");
    let mut text = "\nThe hotspot is open. In another terminal, try\n".to_owned();
    if naive {
        text += &step("guest1", "dig pornhub.com");
        text += &step("guest1", "curl http://news.example.org/");
    } else {
        text += &step("guest1", "curl -v http://news.example.org/        # a stranger is led to the portal");
        text += &step("guest1", "dig pornhub.com                          # and resolves nothing but that");
        text += &step("guest1", "chromium --no-sandbox http://news.example.org/   # accept with a browser");
        if city {
            text += &step(
                "gateway",
                &format!(
                    "sheshi join CODE --control {}   # CODE: from the dashboard's page Fleet",
                    config::control_socket(folder).display()
                ),
            );
        }
        text += &step("gateway", "nft list ruleset");
        let control = format!("env SHESHI_CONTROL={}/run/control.sock sheshi", folder.display());
        text += &step("gateway", &format!("{control} status            # what the synthetic guest has measured"));
        text += &step("gateway", &format!("{control} probe SH-05       # measure a control now"));
        text += &step("internet", "tcpdump -ni isp                         # what gets out");
    }
    text += &format!("Logs are in {}/log. Ctrl-C ends it all.", folder.display());
    text
}
