//! The commands that end by themselves: check, compile, explain, and the questions to a running gateway.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sheshi_captive_portal::{Clock, Objection, SystemClock};
use sheshi_evidence::record::Outcome;
use sheshi_policy::{Compiled, Moment, Policy, Problems, Progress, Source};

use crate::{
    city::CityStatus,
    cli::{
        ApproveArgs, CheckArgs, CompileArgs, ConsentsAction, ConsentsArgs, ControlArgs, ExpelArgs, ExplainArgs,
        GuestsAction, GuestsArgs, JoinArgs, ObjectionsAction, ObjectionsArgs, ProbeArgs, RollbackArgs,
    },
    config::{self, ConfigError},
    control::{self, ControlError, Request},
    generations::{self, BuildError, Generations},
    guests::Ask,
    probe::prober::Line,
    status::{GuestLine, Status},
    subscriptions,
};

/// A command did not do what it was asked; the exit code says on which side the fault is.
#[derive(Debug)]
pub enum Failure {
    /// The input is at fault: exit code 2.
    Refused(String),
    /// It was tried and failed: exit code 1.
    Failed(String),
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        if error.is_refusal() { Self::Refused(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused(text) => Self::Refused(text),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// A failure of the machine, whatever it was.
pub fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

/// Prints, and takes a reader that has gone (`| head`) for the end.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(failed(format!("print: {error}"))),
        _ => Ok(()),
    }
}

/// Prints a value as JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value).map_err(failed)?)
}

/// Shows how far a long work is: a bar on a terminal, a line for each step elsewhere.
pub fn progress() -> impl FnMut(Progress) {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg:>24} {wide_bar} {pos}/{len}").expect("the template is right");
    bar.set_style(style);
    let terminal = std::io::stderr().is_terminal();
    let mut step = "";
    move |progress| {
        if terminal {
            bar.set_length(progress.total);
            bar.set_message(progress.step);
            bar.set_position(progress.done);
        } else if progress.step != step {
            eprintln!("{} …", progress.step);
        }
        step = progress.step;
    }
}

/// `sheshi check`.
pub fn check(args: &CheckArgs) -> Result<(), Failure> {
    let mut told = Vec::new();
    let mut all = Vec::new();
    for path in &args.files {
        match check_file(path) {
            Ok(kind) => told.push(format!("{}: {kind} is right", path.display())),
            Err(Failure::Refused(text)) => {
                told.push(text.clone());
                all.push(text);
            }
            Err(failure) => return Err(failure),
        }
    }
    if args.json {
        print_json(
            &serde_json::json!({ "right": all.is_empty(), "problems": all.join("\n").lines().collect::<Vec<_>>() }),
        )?;
        return if all.is_empty() { Ok(()) } else { Err(Failure::Refused(String::new())) };
    }
    if all.is_empty() { print(&told.join("\n")) } else { Err(Failure::Refused(told.join("\n"))) }
}

fn check_file(path: &Path) -> Result<&'static str, Failure> {
    let unreadable = |error| Failure::Refused(format!("{}: cannot be read: {error}", path.display()));
    if generations::is_compiled(path).map_err(unreadable)? {
        return match Compiled::load(path) {
            Ok(_) => Ok("the compiled policy"),
            Err(error) => Err(Failure::Refused(format!("{}: {error}", path.display()))),
        };
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let is_configuration = text.lines().any(|line| line.trim_start().starts_with("[network]"));
    let wrong = |problems: Problems| Failure::Refused(config::told(path, &problems));
    if is_configuration {
        let config = config::parse(&text, path).map_err(wrong)?;
        check_file(&config.policy)?;
        Ok("the configuration, with its policy,")
    } else {
        let mut policy = Policy::parse(&text).map_err(wrong)?;
        // Read, not only looked for: a list that is a web page or empty is a problem too. Nothing is fetched.
        policy.lists.retain(|list| matches!(list.source, Source::File(_)));
        let folder = path.parent().unwrap_or(Path::new(""));
        let editions = sheshi_lists::load(&policy, folder, &mut |_| ());
        editions.map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))?;
        Ok("the policy, with its lists,")
    }
}

/// `sheshi compile`.
pub fn compile(args: &CompileArgs) -> Result<(), Failure> {
    let bytes = match &args.lists {
        None => generations::build(&args.policy, &mut progress())?,
        Some(folder) => subscriptions::build(&args.policy, folder)?,
    };
    let bytes = match &args.sign {
        None => bytes,
        Some(key) => {
            let refused = |error: String| Failure::Refused(format!("{}: {error}", key.display()));
            let text = std::fs::read_to_string(key).map_err(|error| refused(error.to_string()))?;
            sheshi_policy::sign(bytes, &text).map_err(|error| refused(error.to_string()))?
        }
    };
    generations::replace(&args.output, &bytes)?;
    let compiled = Compiled::load(&args.output).map_err(failed)?;
    let entries: u64 = compiled.lists().iter().map(|list| u64::from(list.entries)).sum();
    let refused: u64 = compiled.lists().iter().flat_map(|list| &list.refused).map(|(_, count)| u64::from(*count)).sum();
    for list in compiled.lists() {
        for (reason, count) in &list.refused {
            print(&format!("list {}: {count} lines not taken: {reason}", list.name))?;
        }
    }
    print(&format!(
        "{}: {entries} entries of {} lists, {refused} lines not taken, {} bytes, sha256 {}",
        args.output.display(),
        compiled.lists().len(),
        bytes.len(),
        hex(&compiled.digest()),
    ))
}

/// Octets as people write digests.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// `sheshi explain`.
pub fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let compiled = match (&args.policy, &args.compiled) {
        (Some(policy), _) => Compiled::from_bytes(generations::build(policy, &mut |_| ())?).map_err(failed)?,
        (_, Some(compiled)) => Compiled::load(compiled).map_err(|error| Failure::Refused(error.to_string()))?,
        (None, None) => {
            let config = config::load(&args.config)?;
            Generations::at(&config.state).newest().ok_or_else(|| {
                let state = config.state.display();
                Failure::Failed(format!(
                    "no compiled policy below {state}: start the gateway once, or give --policy FILE"
                ))
            })?
        }
    };
    let name = wire_name(&args.name)?;
    let at = match args.at.as_deref() {
        None => SystemClock.moment(),
        Some("unknown") => Moment::Unknown,
        Some(text) => Moment::At(text.parse().map_err(|_| {
            Failure::Refused(format!(
                "--at {text:?} is no time: want one such as 2026-12-24T22:30:00+01:00, or unknown"
            ))
        })?),
    };
    let group = match &args.group {
        None => sheshi_policy::GroupId(0),
        Some(group) => compiled.group(group).ok_or_else(|| {
            let known = compiled.groups().iter().map(|group| &*group.name).collect::<Vec<_>>().join(", ");
            Failure::Refused(format!("--group {group:?} is not of this policy: want one of {known}"))
        })?,
    };
    let explanation = compiled.explain(&name, group, at);
    if args.json { print_json(&explanation) } else { print(&explanation.to_string()) }
}

/// A typed name in wire form.
fn wire_name(text: &str) -> Result<Vec<u8>, Failure> {
    let name = sheshi_policy::Name::parse(text.trim_end_matches('.'));
    name.map(|name| name.wire().into()).map_err(|error| Failure::Refused(format!("{text:?}: {error}")))
}

/// `sheshi status`.
pub fn status(args: &ControlArgs) -> Result<(), Failure> {
    let status: Status = control::ask(&args.control, &Request::Status)?;
    if args.json { print_json(&status) } else { print(&status.to_string()) }
}

/// `sheshi probe`. 0 where all hold, 1 where one fails, 3 where one could not be told.
pub fn probe(args: &ProbeArgs) -> Result<u8, Failure> {
    let lines: Vec<Line> = control::ask(&args.control, &Request::Probe { controls: args.controls.clone() })?;
    if lines.is_empty() {
        return Err(Failure::Refused("no such control is measured: docs/profiles.md lists them".into()));
    }
    if args.json {
        print_json(&lines)?;
    } else {
        let told = |line: &Line| format!("{:<14} {} {:<4} {}", line.outcome.text(), line.control, line.probe, line.saw);
        print(&lines.iter().map(told).collect::<Vec<_>>().join("\n"))?;
    }
    let any = |outcome| lines.iter().any(|line| line.outcome == outcome);
    Ok(match (any(Outcome::Fail), any(Outcome::Inconclusive)) {
        (true, _) => 1,
        (false, true) => 3,
        (false, false) => 0,
    })
}

/// `sheshi guests`.
pub fn guests(args: &GuestsArgs) -> Result<(), Failure> {
    match &args.action {
        None => {}
        Some(GuestsAction::Extend { mac, time }) => {
            let ask = Ask::Extend { mac: *mac, seconds: time.as_secs() };
            control::ask::<()>(&args.control, &Request::About(ask))?;
            return print(&format!("{mac} has {} left", crate::status::span(time.as_secs())));
        }
        Some(GuestsAction::Move { mac, group }) => {
            let ask = Ask::Move { mac: *mac, group: group.clone() };
            control::ask::<()>(&args.control, &Request::About(ask))?;
            return print(&format!("{mac} is in group {group}"));
        }
        Some(GuestsAction::End { mac }) => {
            control::ask::<()>(&args.control, &Request::Expel { mac: *mac })?;
            return print(&format!("{mac} is expelled"));
        }
    }
    let guests: Vec<GuestLine> = control::ask(&args.control, &Request::Guests)?;
    if args.json {
        return print_json(&guests);
    }
    if guests.is_empty() {
        return print("no guests");
    }
    print(&guests.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// `sheshi consents`. Always as JSON: it is what is handed to who asks.
pub fn consents(args: &ConsentsArgs) -> Result<(), Failure> {
    match &args.action {
        Some(ConsentsAction::Erase { pseudonym }) => {
            let ask = Ask::EraseConsent { pseudonym: pseudonym.clone() };
            control::ask::<()>(&args.control, &Request::About(ask))?;
            print("the record is erased")
        }
        None => print_json(&control::ask::<serde_json::Value>(&args.control, &Request::About(Ask::Consents))?),
    }
}

/// `sheshi expel`.
pub fn expel(args: &ExpelArgs) -> Result<(), Failure> {
    control::ask::<()>(&args.control, &Request::Expel { mac: args.mac })?;
    print(&format!("{} is expelled", args.mac))
}

/// `sheshi objections`.
pub fn objections(args: &ObjectionsArgs) -> Result<(), Failure> {
    if let Some(ObjectionsAction::Answer { number, lift, answer, .. }) = &args.action {
        let request = Request::Decide { number: number.clone(), granted: *lift, answer: answer.clone() };
        control::ask::<()>(&args.control, &request)?;
        let reminder = if *lift { "; edit the policy to lift the block" } else { "" };
        return print(&format!("{number} is answered{reminder}"));
    }
    let objections: Vec<Objection> = control::ask(&args.control, &Request::Objections)?;
    if args.json {
        return print_json(&objections);
    }
    let now = jiff::Timestamp::now().as_second();
    let lines: Vec<_> = objections.iter().map(|objection| objection_line(objection, now)).collect();
    if lines.is_empty() { print("no objections") } else { print(&lines.join("\n")) }
}

/// An objection for a person to read. What the guest wrote is shown as text and nothing else: no line end, no control
/// character reaches the terminal.
fn objection_line(objection: &Objection, now: i64) -> String {
    let day = |at: Option<i64>| match at.map(jiff::Timestamp::from_second) {
        Some(Ok(at)) => at.strftime("%Y-%m-%d").to_string(),
        _ => "unknown".into(),
    };
    let state = match &objection.decision {
        Some(decision) if decision.granted => "lifted".to_owned(),
        Some(_) => "stays".to_owned(),
        None if objection.decide_by.is_some_and(|by| by < now) => format!("OVERDUE since {}", day(objection.decide_by)),
        None => format!("decide by {}", day(objection.decide_by)),
    };
    let text: String = objection.text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    format!("{}  {}  {state}  [{}] {text}", objection.number, objection.name, objection.language)
}

/// `sheshi reload`.
pub fn reload(args: &ControlArgs) -> Result<(), Failure> {
    let generation: u64 = control::ask(&args.control, &Request::Reload)?;
    if args.json { print_json(&generation) } else { print(&format!("generation {generation} is in force")) }
}

/// `sheshi rollback`.
pub fn rollback(args: &RollbackArgs) -> Result<(), Failure> {
    let generation: u64 = control::ask(&args.control, &Request::Rollback { generation: args.generation })?;
    print(&format!("generation {generation} is in force, until `sheshi reload`"))
}

/// `sheshi join`.
pub fn join(args: &JoinArgs) -> Result<(), Failure> {
    let city: CityStatus = control::ask(&args.control, &Request::Join { code: args.code.clone() })?;
    let next = match city.state.as_str() {
        "pending" => "an operator compares the fingerprint on the dashboard's page Fleet, and approves",
        "approved" => "nothing is left to do",
        _ => "the dashboard's page Fleet says why",
    };
    print(&format!("{}: {}\nfingerprint {}\nnext: {next}", city.dashboard, city.state, city.fingerprint))
}

/// `sheshi approve`.
pub fn approve(args: &ApproveArgs) -> Result<(), Failure> {
    let generation: u64 = control::ask(&args.control, &Request::Approve { list: args.list.clone() })?;
    print(&format!("{} is approved; generation {generation} is in force", args.list))
}

/// `sheshi man`.
pub fn man(folder: &PathBuf) -> Result<(), Failure> {
    let command = <crate::cli::Cli as clap::CommandFactory>::command();
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(command, folder).map_err(failed)
}
