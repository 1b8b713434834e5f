//! A lab, as a test or `sheshi-lab up` holds it. It ends when it is dropped, or when the process that holds it ends.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::{fd::OwnedFd, unix::fs::PermissionsExt, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    arrivals::{self, Arrival, Asked},
    config,
    control::{Reply, Request, Status, ask},
    error::{Doing, LabError},
    guest::Guest,
    inside::{
        FirstWord, load_options,
        processes::{check_programs, own_program, search_path},
    },
    options::{GatewayKind, Options},
    place::Place,
    wait::until,
};

/// How long a lab may take to stand; real block lists have to be compiled first.
const STAND_WITHIN: Duration = Duration::from_secs(120);

/// With this in the environment, labs of tests leave their folders, to look at the logs of a flow that failed.
const KEEP: &str = "SHESHI_LAB_KEEP";

/// A running lab.
pub struct Lab {
    folder: PathBuf,
    options: Options,
    first: Child,
    /// Closing it ends the lab.
    leash: Option<ChildStdin>,
}

impl Lab {
    /// Starts a lab in a new folder and waits until its gateway answers.
    pub fn start(options: Options) -> Result<Self, LabError> {
        let folder =
            tempfile::Builder::new().prefix("sheshi-lab-").tempdir().doing(|| "making a folder for the lab".into())?;
        Self::start_in(folder.keep(), options)
    }

    /// Starts a lab in this folder, which must be empty.
    pub fn start_in(folder: PathBuf, options: Options) -> Result<Self, LabError> {
        let lab = Self::start_first(folder.clone(), options).inspect_err(|_| {
            let _ = fs::remove_dir_all(&folder);
        })?;
        lab.wait_for_gateway()?;
        Ok(lab)
    }

    fn start_first(folder: PathBuf, mut options: Options) -> Result<Self, LabError> {
        if env::var_os(KEEP).is_some() {
            options.keep = true;
            eprintln!("this lab's folder stays: {}", folder.display());
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
            .doing(|| format!("closing {}", folder.display()))?;
        for sub in ["log", "internet"] {
            fs::create_dir_all(folder.join(sub)).doing(|| format!("making {}/{sub}", folder.display()))?;
        }
        if options.gateway == GatewayKind::Sheshi {
            config::write(&folder, &options)?;
        }
        let text =
            serde_json::to_vec_pretty(&options).map_err(std::io::Error::from).doing(|| "writing lab.json".into())?;
        fs::write(folder.join("lab.json"), text).doing(|| format!("writing {}/lab.json", folder.display()))?;
        check_programs()?;
        let log = fs::File::create(folder.join("log/lab.log"))
            .doing(|| format!("writing {}/log/lab.log", folder.display()))?;
        let mut first = Command::new(own_program("sheshi-lab")?)
            .arg("leave")
            .arg(&folder)
            .env("PATH", search_path())
            .current_dir("/")
            // A group of its own: Ctrl-C on the terminal is for us, and we end the lab in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .doing(|| "starting the lab's first process".into())?;
        let leash = first.stdin.take();
        let mut word = String::new();
        if let Some(out) = first.stdout.take() {
            BufReader::new(out).read_line(&mut word).doing(|| "listening to the lab's first process".into())?;
        }
        let lab = Self { folder, options, first, leash };
        match serde_json::from_str(&word) {
            Ok(FirstWord::Ready) => Ok(lab),
            Ok(FirstWord::Failed(why)) => Err(LabError::Refused(why)),
            Err(_) => {
                Err(LabError::Refused(format!("the lab's first process ended at once: {}", lab.log("lab").trim())))
            }
        }
    }

    /// Waits until the gateway serves guests, strangers and orders, and has a policy in force.
    pub fn wait_for_gateway(&self) -> Result<(), LabError> {
        let ports: &[u16] = match self.options.gateway {
            GatewayKind::Naive => &[53],
            GatewayKind::Sheshi => &[53, 5300, 80],
        };
        let gateway = self.place("gateway");
        let end = Instant::now() + STAND_WITHIN;
        let left = || end.saturating_duration_since(Instant::now());
        for port in ports {
            let address = (crate::plan::GATEWAY_V4, *port).into();
            let connect = || gateway.connect(address, Duration::from_millis(500)).ok().map(drop);
            until(&format!("port {port} of the gateway"), left(), connect).map_err(|problem| self.explain(problem))?;
        }
        if self.options.gateway == GatewayKind::Naive {
            return Ok(());
        }
        let open = || (self.gateway_status().ok()?["service"] == "open").then_some(());
        until("the gateway to open for guests", left(), open).map_err(|problem| self.explain(problem))?;
        if self.options.probes { config::enrol(&self.folder) } else { Ok(()) }
    }

    /// What `sheshi status --json` says.
    pub fn gateway_status(&self) -> Result<serde_json::Value, LabError> {
        let text = self.sheshi(&["status", "--json"])?;
        serde_json::from_str(&text).map_err(std::io::Error::from).doing(|| "reading the gateway's status".into())
    }

    /// Adds the last lines of the logs to a problem.
    pub(crate) fn explain(&self, problem: LabError) -> LabError {
        let LabError::TooLate { what, seconds, .. } = problem else { return problem };
        let tail = |name: &str| {
            let log = self.log(name);
            let lines: Vec<&str> = log.lines().rev().take(8).collect();
            lines.into_iter().rev().map(|line| format!("\n  {name}: {line}")).collect::<String>()
        };
        let detail = ["guard", "gateway", "dnsmasq", "lab"].map(tail).concat();
        LabError::TooLate { what, seconds, detail }
    }

    /// The lab's folder: configuration, logs, state.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What kind of lab this is.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A place to work from: `internet`, `gateway`, `guest1` …
    pub fn place(&self, name: &str) -> Place {
        Place::new(&self.folder, name)
    }

    /// A guest by name.
    pub fn guest(&self, name: &str) -> Guest {
        Guest::new(self.place(name))
    }

    /// What a process of the lab has logged.
    pub fn log(&self, process: &str) -> String {
        fs::read_to_string(self.folder.join("log").join(format!("{process}.log"))).unwrap_or_default()
    }

    /// The state of the lab's processes.
    pub fn status(&self) -> Result<Status, LabError> {
        status(&self.folder)
    }

    /// Sends a process a signal; if it dies of it, it is started again after 200 ms.
    pub fn kill(&self, process: &str, signal: nix::sys::signal::Signal) -> Result<(), LabError> {
        order(&self.folder, &Request::Kill { process: process.into(), signal: signal as i32 })
    }

    /// Ends a process; it stays ended.
    pub fn stop(&self, process: &str) -> Result<(), LabError> {
        order(&self.folder, &Request::Stop { process: process.into() })?;
        until(&format!("the end of {process}"), Duration::from_secs(5), || {
            self.status().ok()?.processes.get(process)?.pid.is_none().then_some(())
        })
    }

    /// Starts a process that was ended.
    pub fn start_process(&self, process: &str) -> Result<(), LabError> {
        order(&self.folder, &Request::Start { process: process.into() })
    }

    /// Runs `sheshi COMMAND … --control …` in the gateway, as an admin would; what it printed, or what it said instead.
    pub fn sheshi(&self, arguments: &[&str]) -> Result<String, LabError> {
        let program = own_program("sheshi")?.display().to_string();
        let socket = config::control_socket(&self.folder).display().to_string();
        let mut command = vec![program.as_str()];
        command.extend_from_slice(arguments);
        command.extend_from_slice(&["--control", &socket]);
        self.place("gateway").output(&command)
    }

    /// Runs `sheshi drill NAME`; what it printed, or what it said instead.
    pub fn drill(&self, name: &str) -> Result<String, LabError> {
        let program = own_program("sheshi")?.display().to_string();
        let (config, logs) = (config::path(&self.folder).display().to_string(), self.folder.join("log"));
        let logs = logs.display().to_string();
        self.place("gateway").output(&[&program, "drill", name, "--config", &config, "--also", &logs])
    }

    /// What `sheshi probe CONTROL …` finds now: control and probe, outcome, and what was seen.
    pub fn probe(&self, controls: &[&str]) -> Result<Vec<(String, String, String)>, LabError> {
        let program = own_program("sheshi")?.display().to_string();
        let socket = config::control_socket(&self.folder).display().to_string();
        let mut command = vec![program.as_str(), "probe", "--json", "--control", &socket];
        command.extend_from_slice(controls);
        let output = self.place("gateway").exec(&command)?;
        let lines: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).map_err(|_| {
            LabError::Refused(format!("sheshi probe: {}", String::from_utf8_lossy(&output.stderr).trim()))
        })?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let name = |line: &serde_json::Value| format!("{} {}", text(&line["control"]), text(&line["probe"]));
        Ok(lines.iter().map(|line| (name(line), text(&line["outcome"]), text(&line["saw"]))).collect())
    }

    /// Every question that reached a resolver on the internet side, in order.
    pub fn asked(&self) -> Vec<Asked> {
        arrivals::asked(&self.folder)
    }

    /// The names that were asked of the configured upstream, in order, in lower case without the last dot.
    pub fn upstream_names(&self) -> Vec<String> {
        self.asked().into_iter().filter(|asked| !asked.foreign).map(|asked| asked.name).collect()
    }

    /// Every packet that arrived on the internet side until now.
    ///
    /// Waits for a packet of the gateway's own that was sent after all others, so that none is missed.
    pub fn arrivals(&self) -> Result<Vec<Arrival>, LabError> {
        arrivals::until_now(&self.folder, &self.place("gateway"))
    }

    /// Whether somebody else ended the lab.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.first.try_wait(), Ok(None))
    }

    fn end(&mut self) {
        drop(self.leash.take());
        // The first stage removes the folder when all is over.
        let _ = self.first.wait();
        if !self.options.keep {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end();
    }
}

/// The state of the processes of the lab in this folder.
pub fn status(folder: &Path) -> Result<Status, LabError> {
    match ask(folder, &Request::Status)? {
        (Reply::Status(status), _) => Ok(status),
        _ => Err(LabError::Refused("the lab answered something else".into())),
    }
}

/// Ends the lab in this folder, from wherever it was started.
pub fn down(folder: &Path) -> Result<(), LabError> {
    let stays = load_options(folder).is_ok_and(|options| options.keep);
    order(folder, &Request::Down)?;
    // The folder goes last of all.
    let over = || status(folder).is_err() && (stays || !folder.exists());
    until("the end of the lab", Duration::from_secs(10), || over().then_some(()))
}

pub(crate) fn order(folder: &Path, request: &Request) -> Result<(), LabError> {
    ask(folder, request).map(drop)
}

pub(crate) fn open_socket(
    folder: &Path,
    place: &str,
    domain: i32,
    kind: i32,
    protocol: i32,
) -> Result<OwnedFd, LabError> {
    match ask(folder, &Request::Socket { place: place.into(), domain, kind, protocol })? {
        (_, Some(socket)) => Ok(socket),
        _ => Err(LabError::Refused(format!("no socket came from {place}"))),
    }
}
