//! `sheshi report`: the evidence of a period as a folder for a certifier, from a running gateway or from its log.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use sheshi_evidence::{
    Digest, Time,
    bundle::{self, Bundle},
    rollup::Period,
};

use crate::{
    cli::ReportArgs,
    commands::{Failure, failed, print, print_json},
    config,
    control::{self, ControlError, Request},
    evidence_log::{EvidenceError, EvidenceLog},
    time_stamp,
};

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The folder.
    pub folder: PathBuf,
    /// `COMPLIANT` and so on.
    pub verdict: String,
    /// The digest in the footer of each page.
    pub report: String,
    /// How many records the log has.
    pub records: u64,
    /// Why there is no outside time stamp, where one was asked for.
    pub no_time_stamp: Option<String>,
}

impl From<EvidenceError> for Failure {
    fn from(error: EvidenceError) -> Self {
        use sheshi_evidence::Error::{Key, Period};
        match error {
            EvidenceError::File { .. } | EvidenceError::Room(Period(_) | Key { .. }) => {
                Self::Refused(error.to_string())
            }
            error => Self::Failed(error.to_string()),
        }
    }
}

/// `sheshi report`.
pub fn run(args: &ReportArgs) -> Result<(), Failure> {
    let period = period(&args.period, Timestamp::now())?;
    if args.output.exists() {
        return Err(Failure::Refused(format!(
            "{} is there already: a report goes into a new folder",
            args.output.display()
        )));
    }
    let config = config::load(&args.config)?;
    let settings = config.evidence.clone().ok_or_else(|| {
        Failure::Refused(format!("{}: has no section [evidence], so nothing is recorded", args.config.display()))
    })?;
    // A file of the city's own profile is named from here, not from where the gateway runs.
    let profile = args.profile.as_ref().map(|name| match std::fs::canonicalize(name) {
        Ok(path) if name.contains(['/', '.']) => path.to_string_lossy().into_owned(),
        _ => name.clone(),
    });
    let request =
        Request::Report { from: period.from.to_string(), to: period.to.to_string(), profile: profile.clone() };
    let made = match control::ask::<Made>(args.control.as_ref().unwrap_or(&config.control), &request) {
        Ok(mut made) => {
            let bundle = Bundle::load(&made.folder).map_err(failed)?;
            bundle.save(&args.output).map_err(failed)?;
            std::fs::remove_dir_all(&made.folder).map_err(failed)?;
            made.folder.clone_from(&args.output);
            made
        }
        Err(ControlError::NotRunning { .. }) => {
            let log = EvidenceLog::open(&config, &settings)?;
            make(&log, period, profile.as_deref(), &args.output)?
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        return print_json(&made);
    }
    if let Some(why) = &made.no_time_stamp {
        eprintln!("no outside time stamp: {why}");
    }
    print(&format!(
        "{}: {}\nreport sha256 {}, {} records\ncheck it: sheshi-verify {} --key {}",
        made.folder.display(),
        made.verdict,
        made.report,
        made.records,
        made.folder.display(),
        crate::evidence_log::folder(&config.state).join("gateway.pub.pem").display(),
    ))
}

/// Makes a report into a new folder.
pub fn make(log: &EvidenceLog, period: Period, profile: Option<&str>, folder: &Path) -> Result<Made, EvidenceError> {
    let mut bundle = log.report(period, &log.profile(profile)?)?;
    let mut no_time_stamp = None;
    if let Some(url) = &log.settings().time_stamps {
        // The log is not held meanwhile: no record waits for somebody else's server.
        match time_stamp::fetch(url, &bundle.files[bundle::CHECKPOINT]) {
            Ok(stamp) => drop(bundle.files.insert(bundle::TIME_STAMP.into(), stamp)),
            Err(error) => no_time_stamp = Some(error),
        }
    }
    bundle.save(folder)?;
    let (verdict, report, records) = bundle.summary(&log.public_key())?;
    Ok(Made {
        folder: folder.into(),
        verdict: verdict.text().into(),
        report: report.to_string(),
        records,
        no_time_stamp,
    })
}

/// Answers a running gateway's control socket: makes the report below its own state folder.
pub fn answer(log: &EvidenceLog, from: &str, to: &str, profile: Option<&str>) -> Result<Made, Failure> {
    let time = |text: &str| text.parse::<Time>().map_err(|error| Failure::Refused(error.to_string()));
    let period = Period { from: time(from)?, to: time(to)? };
    let reports = log.folder().join("reports");
    std::fs::create_dir_all(&reports).map_err(failed)?;
    let name = Digest::of(format!("{from} {to} {profile:?} {}", log.read(sheshi_evidence::log::Log::len)).as_bytes());
    Ok(make(log, period, profile, &reports.join(&name.to_string()[..16]))?)
}

/// `day`, `week` and `month` are the last whole ones in UTC; `90m` or `7d` end now; else `FROM..TO`, dates or times.
fn period(text: &str, now: Timestamp) -> Result<Period, Failure> {
    let wrong = || {
        Failure::Refused(format!(
            "--period {text:?} is none: want day, week, month, a length such as 24h, or FROM..TO such as 2026-11-16..2026-11-23"
        ))
    };
    let today = now.to_zoned(TimeZone::UTC).date();
    let midnight = |date: Date| Time::midnight(&date.to_string()).map_err(|_| wrong());
    let days = |from: Date, to: Date| Ok::<_, Failure>(Period { from: midnight(from)?, to: midnight(to)? });
    let moment = |text: &str| match text.parse::<Date>() {
        Ok(date) if text.len() == 10 => midnight(date),
        _ => text.parse::<Timestamp>().ok().and_then(|at| Time::from_millis(at.as_millisecond())).ok_or_else(wrong),
    };
    let period = match text {
        "day" => days(today - 1.day(), today)?,
        "week" => {
            let monday = today - i32::from(today.weekday().to_monday_zero_offset()).days();
            days(monday - 7.days(), monday)?
        }
        "month" => {
            let first = today.first_of_month();
            days(first - 1.month(), first)?
        }
        _ => match text.split_once("..") {
            Some((from, to)) => Period { from: moment(from)?, to: moment(to)? },
            None => {
                // Days of 24 hours: jiff's durations know none.
                let length = match text.strip_suffix('d').map(str::parse::<i64>) {
                    Some(days) => {
                        SignedDuration::from_hours(24 * days.ok().filter(|days| *days <= 4_000).ok_or_else(wrong)?)
                    }
                    None => text.parse::<SignedDuration>().map_err(|_| wrong())?,
                };
                let to = Time::from_millis(now.as_millisecond()).ok_or_else(wrong)?;
                let millis = i64::try_from(length.as_millis()).map_err(|_| wrong())?;
                Period { from: to.plus_millis(-millis), to }
            }
        },
    };
    if period.from >= period.to {
        return Err(wrong());
    }
    if period.to.millis() > now.as_millisecond() {
        return Err(Failure::Refused(format!("--period {text:?} is not over: a report speaks of the past")));
    }
    Ok(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        match period(text, "2026-11-23T07:30:00Z".parse().unwrap()) {
            Ok(period) => Ok(format!("{} {}", period.from, period.to)),
            Err(Failure::Refused(text) | Failure::Failed(text)) => Err(text),
        }
    }

    #[test]
    fn periods_are_whole_days_weeks_and_months_lengths_or_two_ends() {
        for (text, want) in [
            ("day", "2026-11-22T00:00:00.000Z 2026-11-23T00:00:00.000Z"),
            ("week", "2026-11-16T00:00:00.000Z 2026-11-23T00:00:00.000Z"),
            ("month", "2026-10-01T00:00:00.000Z 2026-11-01T00:00:00.000Z"),
            ("90m", "2026-11-23T06:00:00.000Z 2026-11-23T07:30:00.000Z"),
            ("7d", "2026-11-16T07:30:00.000Z 2026-11-23T07:30:00.000Z"),
            ("2026-11-01..2026-11-02", "2026-11-01T00:00:00.000Z 2026-11-02T00:00:00.000Z"),
            ("2026-11-01T01:00:00+01:00..2026-11-02", "2026-11-01T00:00:00.000Z 2026-11-02T00:00:00.000Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn periods_that_are_none_or_not_over_are_refused() {
        for text in ["", "yesterday", "0s", "-1h", "2026-11-02..2026-11-01", "..", "2026-11-01", "99999999999d"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("2026-11-01..2026-12-01").unwrap_err().contains("not over"));
    }
}
