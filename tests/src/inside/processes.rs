//! Which programs run in the lab, and where they are found.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    config,
    error::{Doing, LabError},
    inside::{naive, place::Place, supervisor::Process, supervisor::Supervisor, supervisor::run_in, topology::set},
    options::{GatewayKind, Isolation, Options},
};

const SCRIPT: &str = include_str!("udhcpc.sh");
/// Accounts of the gateway's processes in a lab with real root: any two that are not root's and not each other's.
pub(crate) const GATEWAY_OWNER: u32 = 61_080;

/// Folders in which programs of the system are, also for an account whose `PATH` leaves out those for admins.
pub(crate) fn search_path() -> String {
    let path = env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
}

/// Finds a program of our own: in `SHESHI_BIN_DIR` (folders separated by colons), beside this program or one folder up.
pub fn own_program(name: &str) -> Result<PathBuf, LabError> {
    let named = env::var("SHESHI_BIN_DIR").unwrap_or_default();
    let here = env::current_exe().doing(|| "finding the lab's own program".into())?;
    let beside = here.ancestors().skip(1).take(2).map(Path::to_path_buf);
    let folders = env::split_paths(&named).filter(|folder| !folder.as_os_str().is_empty()).chain(beside);
    let mut looked = Vec::new();
    for folder in folders {
        let program = folder.join(name);
        if program.is_file() {
            return Ok(program);
        }
        looked.push(folder.display().to_string());
    }
    Err(LabError::Missing {
        program: name.into(),
        hint: format!(
            "not in {}; build it with `cargo build --workspace` or name its folder in SHESHI_BIN_DIR",
            looked.join(", ")
        ),
    })
}

/// Programs of others that the lab runs, with the package that has them on Debian and Ubuntu.
const PROGRAMS: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("dnsmasq", "dnsmasq-base"),
    ("udhcpc", "udhcpc"),
    ("openssl", "openssl"),
];

/// Finds out whether all programs of others are there, before anything is set up.
pub(crate) fn check_programs() -> Result<(), LabError> {
    let path = search_path();
    let is_there = |name: &str| env::split_paths(&path).any(|folder| folder.join(name).is_file());
    match PROGRAMS.iter().find(|(name, _)| !is_there(name)) {
        Some((name, package)) => Err(LabError::Missing {
            program: (*name).into(),
            hint: format!("install it with `sudo apt-get install {package}`"),
        }),
        None => Ok(()),
    }
}

/// Makes all processes known, and returns those to start now, in order.
pub(crate) fn add(supervisor: &Supervisor, options: &Options, folder: &Path) -> Result<Vec<String>, LabError> {
    let own = env::current_exe().doing(|| "finding the lab's own program".into())?;
    supervisor.add(
        "internet",
        Process {
            place: "internet".into(),
            command: vec![text(&own), "internet".into(), text(&folder.join("internet"))],
            environment: Vec::new(),
            owner: None,
        },
    );
    let mut now = vec!["internet".to_owned()];
    let place = supervisor.place("gateway")?;
    match options.gateway {
        GatewayKind::Naive => {
            supervisor.add("dnsmasq", naive::open(place, options, folder)?);
            now.push("dnsmasq".into());
        }
        GatewayKind::Sheshi => {
            for (name, process) in sheshi(place, options, folder)? {
                supervisor.add(name, process);
                now.push(name.to_owned());
            }
        }
    }
    add_guests(supervisor, options, folder)?;
    Ok(now)
}

fn sheshi(place: &Place, options: &Options, folder: &Path) -> Result<Vec<(&'static str, Process)>, LabError> {
    let (guard, gateway) = (own_program("sheshi-guard")?, own_program("sheshi")?);
    let config = config::path(folder);
    let dnsmasq = folder.join("dnsmasq.conf");
    let printed = run_in(place, &text(&gateway), &["dnsmasq", "--config", &text(&config)], "")?;
    fs::write(&dnsmasq, printed).doing(|| format!("writing {}", dnsmasq.display()))?;
    let owner = match options.isolation {
        Isolation::Rootless => None,
        Isolation::Root => {
            // What `AmbientCapabilities=CAP_NET_BIND_SERVICE` gives the daemon on a real gateway.
            set(place, "net/ipv4/ip_unprivileged_port_start", "0")?;
            Some(GATEWAY_OWNER)
        }
    };
    let process = |command: Vec<String>, owner| Process {
        place: "gateway".into(),
        command,
        environment: vec![
            ("RUST_LOG".into(), env::var("RUST_LOG").unwrap_or_else(|_| "info".into())),
            // The lab's internet has an authority of its own; a real gateway believes what its system believes.
            ("SSL_CERT_FILE".into(), text(&folder.join("internet/ca.pem"))),
        ],
        owner,
    };
    let mut all = vec![
        ("guard", process(guard_command(&guard, folder, owner), None)),
        ("gateway", process(vec![text(&gateway), "gateway".into(), "--config".into(), text(&config)], owner)),
        // Before it offers an address dnsmasq pings it for three seconds; tests need not wait for that.
        (
            "dnsmasq",
            process(
                vec![
                    "dnsmasq".into(),
                    "--no-daemon".into(),
                    "--no-ping".into(),
                    format!("--conf-file={}", text(&dnsmasq)),
                ],
                None,
            ),
        ),
    ];
    if options.probes {
        // First of all: it watches what is answered before anything else is up. It needs rights that the daemon has not.
        let command = vec![text(&own_program("sheshi")?), "guest".into(), "--config".into(), text(&config)];
        all.insert(0, ("probe", process(command, None)));
    }
    Ok(all)
}

fn guard_command(guard: &Path, folder: &Path, owner: Option<u32>) -> Vec<String> {
    let run = folder.join("run");
    let mut command = vec![text(guard), "--socket".into(), text(&run.join("guard.sock"))];
    command.extend(["--state".into(), text(&run.join("ruleset.json"))]);
    if let Some(owner) = owner {
        command.extend(["--allow-uid".into(), owner.to_string()]);
    }
    command
}

fn add_guests(supervisor: &Supervisor, options: &Options, folder: &Path) -> Result<(), LabError> {
    // In the lab's own /run: the machine may have forbidden programs in the folder for temporary files.
    let script = Path::new("/run/udhcpc.sh");
    fs::write(script, SCRIPT).doing(|| format!("writing {}", script.display()))?;
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).doing(|| format!("writing {}", script.display()))?;
    for number in 1..=options.guests {
        let guest = format!("guest{number}");
        let lease = folder.join(&guest);
        let arguments = ["-f", "-i", "eth0", "-s", "/run/udhcpc.sh", "-O", "114", "-t", "5", "-T", "1", "-A", "1"];
        supervisor.add(
            &format!("{guest}-dhcp"),
            Process {
                place: guest,
                command: ["udhcpc"].into_iter().chain(arguments).map(str::to_owned).collect(),
                environment: vec![("LEASE".into(), text(&lease))],
                owner: None,
            },
        );
    }
    Ok(())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
