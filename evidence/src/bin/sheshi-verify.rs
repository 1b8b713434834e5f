//! `sheshi-verify`: is this bundle what it claims? No network, no daemon. Exit code 0: valid; 1: not valid; 2: could not
//! be checked.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use sheshi_evidence::{
    bundle::Bundle,
    canon,
    control::Catalogue,
    profile::Profile,
    record::Outcome,
    sample::Names,
    sign::PublicKey,
    tsp::Authority,
    verify::{Refusal, Trust, Verified, verify_after},
};

const HELP: &str = "\
sheshi-verify BUNDLE --key FILE [options]

Checks an evidence bundle of one gateway, without network. Stops at the first thing that is not as it must be.

  --key FILE          public key of the gateway (PEM), from the certification paper, never from the bundle
  --log-key FILE      public key of a witness that must have cosigned the log; may be given more than once
  --tsa FILE          certificate (PEM) of the time-stamping authority, or of its issuer
  --person-key FILE   public key of a person whose papers may count; may be given more than once
  --profile FILE      the city's own profile, besides the built-in ones; may be given more than once
  --catalogue FILE    another catalogue than the built-in one (TOML)
  --previous BUNDLE   an earlier bundle, which this one must continue
  --nonce TEXT        your witness nonce, which must have been seen
  --list ID=FILE      a list's names, sorted, one a line: its samples are drawn again; may be given more than once
  --json              print one JSON object
  --catalogue-json    print the built-in catalogue in canonical JSON and stop
  --version, --help

Exit code: 0 valid, 1 not valid, 2 could not be checked. Valid speaks of the evidence; the verdict is printed beside it.
";

fn main() -> ExitCode {
    let (text, code) = match run(std::env::args_os().skip(1)) {
        Ok(done) => done,
        Err(why) => {
            // Nothing can be done where even this cannot be written; the exit code still tells.
            let _ = writeln!(std::io::stderr(), "sheshi-verify: {why}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::from(2),
    }
}

#[derive(Default)]
struct Arguments {
    bundle: Option<PathBuf>,
    files: BTreeMap<&'static str, Vec<String>>,
    json: bool,
}

/// Options with a value, and whether they may be given more than once.
const OPTIONS: [(&str, bool); 9] = [
    ("--key", false),
    ("--log-key", true),
    ("--tsa", false),
    ("--person-key", true),
    ("--profile", true),
    ("--catalogue", false),
    ("--previous", false),
    ("--nonce", false),
    ("--list", true),
];

fn run(arguments: impl Iterator<Item = std::ffi::OsString>) -> Result<(String, u8), String> {
    let mut given = Arguments::default();
    let mut arguments =
        arguments.map(|text| text.into_string().map_err(|text| format!("{} is not UTF-8", text.display())));
    while let Some(argument) = arguments.next() {
        let argument = argument?;
        match argument.as_str() {
            "--help" | "-h" => return Ok((HELP.to_owned(), 0)),
            "--version" => return Ok((format!("sheshi-verify {}\n", env!("CARGO_PKG_VERSION")), 0)),
            "--catalogue-json" => {
                let bytes = canon::encode(Catalogue::builtin());
                return Ok((String::from_utf8_lossy(&bytes).into_owned(), 0));
            }
            "--json" => given.json = true,
            option if option.starts_with('-') => {
                let known = OPTIONS.iter().find(|(name, _)| *name == option);
                let &(name, many) = known.ok_or_else(|| format!("there is no option {option}"))?;
                let value = arguments.next().ok_or_else(|| format!("{option} wants a value"))??;
                let values = given.files.entry(name).or_default();
                if !many && !values.is_empty() {
                    return Err(format!("{option} can be given only once"));
                }
                values.push(value);
            }
            _ if given.bundle.is_some() => return Err("give one BUNDLE; an earlier one goes after --previous".into()),
            _ => given.bundle = Some(argument.into()),
        }
    }
    check(&given)
}

impl Arguments {
    fn all(&self, option: &str) -> &[String] {
        self.files.get(option).map_or(&[], Vec::as_slice)
    }

    fn one(&self, option: &str) -> Option<&Path> {
        self.all(option).first().map(Path::new)
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("could not read {}: {error}", path.display()))
}

fn check(given: &Arguments) -> Result<(String, u8), String> {
    let text = |error: sheshi_evidence::Error| error.to_string();
    let folder = given.bundle.as_deref().ok_or("name the BUNDLE")?;
    let key = given.one("--key").ok_or("give the gateway's key with --key; it is never taken from the bundle")?;
    let mut trust = Trust::new(PublicKey::load(key).map_err(text)?);
    if let Some(path) = given.one("--catalogue") {
        trust.catalogue =
            Catalogue::parse(&read(path)?).map_err(|problems| format!("{}:\n{problems}", path.display()))?;
        // A built-in profile may name controls that this catalogue lacks; it is of no use then.
        trust.profiles.clear();
    }
    for path in given.all("--profile") {
        let profile = Profile::parse(&read(Path::new(path))?, &trust.catalogue);
        trust.profiles.push(profile.map_err(|problems| format!("{path}:\n{problems}"))?);
    }
    let keys = |option: &str| -> Result<Vec<PublicKey>, String> {
        given.all(option).iter().map(|path| PublicKey::load(Path::new(path)).map_err(text)).collect()
    };
    trust.log_keys = keys("--log-key")?;
    trust.people = keys("--person-key")?;
    trust.authority = given.one("--tsa").map(Authority::load).transpose().map_err(text)?;
    trust.nonce = given.all("--nonce").first().cloned();
    for list in given.all("--list") {
        let (id, path) = list.split_once('=').ok_or("write --list ID=FILE")?;
        let names = Names::parse(&read(Path::new(path))?).map_err(|error| format!("{path}: {error}"))?;
        trust.lists.insert(id.to_owned(), names);
    }
    let previous = given.one("--previous").map(Bundle::load).transpose().map_err(text)?;
    let bundle = Bundle::load(folder).map_err(text)?;
    Ok(match verify_after(&bundle, &trust, previous.as_ref()) {
        Ok(verified) => (if given.json { json(&verified) } else { told(&verified, &trust) }, 0),
        Err(refusal) => (if given.json { json_refusal(&refusal) } else { format!("NOT VALID: {refusal}\n") }, 1),
    })
}

fn told(verified: &Verified, trust: &Trust) -> String {
    let details = &verified.details;
    let mut text = String::new();
    let mut line = |what: &str, value: String| text.push_str(&format!("{what:<12}{value}\n"));
    if details.lab {
        line("LAB", "measured on a test bed, shows nothing about any site".into());
    }
    line("site", format!("{} ({}), {}", details.site_name, details.site, details.organisation));
    line("gateway", format!("{}, key {}", details.gateway, details.key));
    line("period", format!("{} to {}", details.period.from, details.period.to));
    line("profile", format!("{} {}", details.profile.id, details.profile.version));
    let measured = format!("{}.{:04} %", details.coverage_ppm / 10_000, details.coverage_ppm % 10_000);
    line("measured", format!("{measured}, longest gap {} s, {} probes", details.longest_gap_s, details.probes_run));
    for (state, what) in [(Outcome::Fail, "failed"), (Outcome::Inconclusive, "not proven")] {
        let of = details.controls.iter().filter(|control| control.state == state);
        let ids: Vec<_> = of.map(|c| if c.mandatory { c.id.clone() } else { format!("({})", c.id) }).collect();
        if !ids.is_empty() {
            line(what, ids.join(" "));
        }
    }
    line("log", format!("{}, {} records", verified.checkpoint.origin, verified.checkpoint.size));
    line("report", format!("sha256 {}", verified.report));
    for (name, at) in &verified.witnesses {
        line("witness", format!("{name}, {at}"));
    }
    if trust.log_keys.is_empty() {
        line("witness", "not checked, none asked for".into());
    }
    match verified.time_stamp {
        Some(at) => line("time stamp", at.to_string()),
        None => line("time stamp", "not checked, none asked for".into()),
    }
    if verified.samples_drawn > 0 {
        line("samples", format!("{} drawn again, as told", verified.samples_drawn));
    }
    text + "VALID\nVerdict in the signed report: " + details.verdict.text() + "\n"
}

fn json(verified: &Verified) -> String {
    let witnesses: Vec<_> =
        verified.witnesses.iter().map(|(name, at)| serde_json::json!({"name": name, "time": at})).collect();
    let value = serde_json::json!({
        "valid": true,
        "verdict": verified.details.verdict.text(),
        "report": verified.report,
        "size": verified.checkpoint.size,
        "root": verified.checkpoint.root.base64(),
        "witnesses": witnesses,
        "time_stamp": verified.time_stamp,
        "samples_drawn": verified.samples_drawn,
        "details": verified.details,
    });
    format!("{value}\n")
}

fn json_refusal(refusal: &Refusal) -> String {
    let value = serde_json::json!({
        "valid": false,
        "step": refusal.step,
        "error": refusal.name.text(),
        "place": refusal.place,
        "why": refusal.why,
    });
    format!("{value}\n")
}
