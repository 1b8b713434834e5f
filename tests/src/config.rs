//! The gateway's configuration, as an admin would write it. The only place of the lab that knows its format.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde::Serialize;

use crate::{
    error::{Doing, LabError},
    inside::processes::GATEWAY_OWNER,
    options::{Ipv6, Isolation, Options},
    plan,
    wait::until,
};

#[derive(Serialize)]
struct Config {
    version: u32,
    site: &'static str,
    state: PathBuf,
    run: PathBuf,
    policy: &'static str,
    network: Network,
    dns: Dns,
    portal: Portal,
    evidence: Evidence,
    guard: Socket,
    control: Socket,
    #[serde(skip_serializing_if = "Option::is_none")]
    city: Option<City>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probes: Option<Probes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    witness: Option<Witness>,
}

#[derive(Serialize)]
struct Probes {
    clocks: Vec<String>,
    approved: &'static str,
    enrolled: &'static str,
    popular: &'static str,
}

#[derive(Serialize)]
struct Witness {
    name: &'static str,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

#[derive(Serialize)]
struct Network {
    guests: &'static str,
    uplink: [&'static str; 1],
    ipv6: &'static str,
}

#[derive(Serialize)]
struct Dns {
    upstreams: [String; 2],
}

#[derive(Serialize)]
struct Portal {
    name: &'static str,
    organisation: &'static str,
    contact: &'static str,
    session: String,
    tls: Tls,
}

#[derive(Serialize)]
struct Evidence {
    gateway: &'static str,
    site: &'static str,
    network: &'static str,
    network_name: &'static str,
    time_stamps: String,
    lab: bool,
}

#[derive(Serialize)]
struct City {
    dashboard: String,
    authorities: PathBuf,
}

#[derive(Serialize)]
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Serialize)]
struct Socket {
    socket: PathBuf,
}

/// Where the configuration of the lab in this folder is.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("gateway.toml")
}

/// Where its policy is.
pub fn policy_path(folder: &Path) -> PathBuf {
    folder.join("policy.toml")
}

/// Where the gateway takes orders.
pub fn control_socket(folder: &Path) -> PathBuf {
    folder.join("run/control.sock")
}

/// Writes configuration, policy and the folders they name.
pub(crate) fn write(folder: &Path, options: &Options) -> Result<(), LabError> {
    let (state, run) = (folder.join("state"), folder.join("run"));
    for made in [&state, &run] {
        fs::create_dir_all(made).doing(|| format!("making {}", made.display()))?;
    }
    let config = Config {
        version: 1,
        site: plan::SITE,
        policy: "policy.toml",
        network: Network {
            guests: "guests",
            uplink: ["wan0"],
            ipv6: match options.ipv6 {
                Ipv6::Routed => "routed",
                Ipv6::Nat66 => "nat66",
                Ipv6::Off => "off",
            },
        },
        dns: Dns { upstreams: [format!("{}:53", plan::UPSTREAM_V4), format!("[{}]:53", plan::UPSTREAM_V6)] },
        portal: Portal {
            name: plan::PORTAL,
            organisation: "Bashkia Tiranë",
            contact: "wifi@tirana.example",
            session: options.session.clone(),
            tls: certify(folder)?,
        },
        // Marked on every report: nobody may take it for a hotspot's.
        evidence: Evidence {
            gateway: "lab",
            site: "LAB",
            network: "guests",
            network_name: "Lab Free",
            time_stamps: format!("http://{}:{}/", plan::ECHO_V4, plan::STAMPS_PORT),
            lab: true,
        },
        guard: Socket { socket: run.join("guard.sock") },
        control: Socket { socket: control_socket(folder) },
        city: options.dashboard.as_ref().map(|_| City {
            dashboard: format!("https://{}", plan::DASHBOARD),
            authorities: folder.join("internet/ca.pem"),
        }),
        probes: options.probes.then(|| Probes {
            clocks: plan::CLOCKS.iter().map(|clock| format!("{clock}:123")).collect(),
            approved: "policy.approved",
            enrolled: "enrolled.pem",
            popular: "popular.txt",
        }),
        witness: options.probes.then_some(Witness { name: plan::WITNESS, v4: plan::ECHO_V4, v6: plan::ECHO_V6 }),
        state: state.clone(),
        run: run.clone(),
    };
    let text = toml::to_string(&config).map_err(std::io::Error::other).doing(|| "writing gateway.toml".into())?;
    let text = format!("{text}\n{}", options.settings);
    fs::write(path(folder), text).doing(|| format!("writing {}", path(folder).display()))?;
    write_policy(folder, options)?;
    if let Some(socket) = &options.dashboard {
        let link = folder.join("internet/dashboard.sock");
        let socket = socket.canonicalize().doing(|| format!("finding the dashboard's socket {}", socket.display()))?;
        std::os::unix::fs::symlink(socket, &link).doing(|| format!("linking {}", link.display()))?;
    }
    if options.isolation == Isolation::Root {
        give_away(folder, &[state, run, folder.join("portal.key")])?;
    }
    Ok(())
}

/// A certificate for the portal's name; guests that check it are given `portal.pem` to trust.
fn certify(folder: &Path) -> Result<Tls, LabError> {
    let doing = || "making the portal's certificate".to_owned();
    let made = rcgen::generate_simple_self_signed([plan::PORTAL.to_owned()]);
    let made = made.map_err(std::io::Error::other::<rcgen::Error>).doing(doing)?;
    let tls = Tls { certificate: folder.join("portal.pem"), key: folder.join("portal.key") };
    fs::write(&tls.certificate, made.cert.pem()).doing(doing)?;
    fs::write(&tls.key, made.signing_key.serialize_pem()).doing(doing)?;
    Ok(tls)
}

/// Puts the policy where the configuration says, and the lists where the policy says.
fn write_policy(folder: &Path, options: &Options) -> Result<(), LabError> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let of_lists = if options.lists.is_some() { "policy-public-lists.toml" } else { "policy.toml" };
    let policy = options.policy.clone().unwrap_or_else(|| shipped.join(of_lists));
    let lists = options.lists.clone().unwrap_or_else(|| shipped.join("lists"));
    let lists = lists.canonicalize().doing(|| format!("finding the folder of lists {}", lists.display()))?;
    let mut text = fs::read_to_string(&policy).doing(|| format!("reading {}", policy.display()))?;
    if options.probes && !text.contains("[canary]") {
        text += &format!("\n[canary]\nzone = \"{}\"\n", plan::CANARIES);
    }
    if options.probes {
        let popular: String = (0..300).map(|number| format!("popular{number}.example.org\n")).collect();
        fs::write(folder.join("popular.txt"), popular).doing(|| "writing popular.txt".into())?;
    }
    fs::write(policy_path(folder), text).doing(|| format!("writing {}", policy_path(folder).display()))?;
    // The policy names its lists from where it is: `lists/…`.
    let link = folder.join("lists");
    std::os::unix::fs::symlink(&lists, &link).doing(|| format!("linking {}", link.display()))?;
    if options.probes { approve_policy(folder) } else { Ok(()) }
}

/// What the city's owner of the policy does: `sha256sum policy.toml > policy.approved`.
pub fn approve_policy(folder: &Path) -> Result<(), LabError> {
    let sum = Command::new("sha256sum").arg(policy_path(folder)).output();
    let sum = sum.doing(|| "running sha256sum".into())?;
    fs::write(folder.join("policy.approved"), sum.stdout).doing(|| "writing policy.approved".into())
}

/// What the city does when it enrols a gateway: it keeps a copy of its public key.
pub(crate) fn enrol(folder: &Path) -> Result<(), LabError> {
    let key = folder.join("state/evidence/gateway.pub.pem");
    until("the gateway's key", Duration::from_secs(20), || key.exists().then_some(()))?;
    fs::copy(&key, folder.join("enrolled.pem")).map(drop).doing(|| "enrolling the gateway's key".into())
}

/// The daemon's account must be able to reach the folder and to write what is its own.
fn give_away(folder: &Path, own: &[PathBuf]) -> Result<(), LabError> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).doing(|| format!("opening {}", folder.display()))?;
    for path in own {
        chown(path, Some(GATEWAY_OWNER), Some(GATEWAY_OWNER)).doing(|| format!("giving {} away", path.display()))?;
    }
    Ok(())
}
