//! When the hotspot is open: lines such as `mon-fri 08:00-20:00`, in a time zone.

use std::time::Duration;

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use crate::words::Words;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Minutes of a day.
const DAY: i64 = 24 * 60;
/// As far as anybody has to know in advance.
const FAR: Duration = Duration::from_secs(8 * 86_400);

/// Opening hours. None at all is always closed.
#[derive(Debug, Clone)]
pub(crate) struct Hours {
    zone: TimeZone,
    spans: Vec<Span>,
}

/// On these days from one minute to another, which is on the next day where it is the smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    days: [bool; 7],
    from: i64,
    to: i64,
}

impl Default for Hours {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, spans: Vec::new() }
    }
}

impl Hours {
    /// Reads the lines; what is wrong with the first that is.
    pub(crate) fn parse(lines: &[String], zone: &str) -> Result<Self, String> {
        let zone = TimeZone::get(zone).map_err(|_| format!("{zone:?} is not a time zone"))?;
        let span = |line: &String| Span::parse(line).ok_or_else(|| format!("{line:?} cannot be read"));
        Ok(Self { zone, spans: lines.iter().map(span).collect::<Result<_, _>>()? })
    }

    /// For how long it stays open; `None` while it is closed.
    pub(crate) fn left(&self, at: Timestamp) -> Option<Duration> {
        let today = at.to_zoned(self.zone.clone()).date();
        let mut spans = Vec::new();
        for ahead in -1..=8 {
            let Ok(date) = today.checked_add(ahead.days()) else { continue };
            let day = date.weekday().to_monday_zero_offset() as usize;
            for span in self.spans.iter().filter(|span| span.days[day]) {
                spans.extend(Some((self.instant(date, span.from)?, self.instant(date, span.to)?)));
            }
        }
        // One span may begin where another ends: the end is where none goes on.
        spans.sort_unstable();
        let mut end = at;
        for (from, to) in spans {
            if from <= end && to > end {
                end = to;
            }
        }
        let left = Duration::try_from(end.duration_since(at)).ok()?;
        (!left.is_zero()).then(|| left.min(FAR))
    }

    /// The instant of a minute of a day, as clocks show it: also on the day that has an hour more or less.
    fn instant(&self, date: Date, minute: i64) -> Option<Timestamp> {
        let date = date.checked_add((minute / DAY).days()).ok()?;
        let time = date.at((minute % DAY / 60) as i8, (minute % 60) as i8, 0, 0);
        time.to_zoned(self.zone.clone()).ok().map(|zoned| zoned.timestamp())
    }

    /// The hours for people to read, a line each.
    pub(crate) fn lines(&self, words: &Words) -> Vec<String> {
        let time = |minute: i64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
        self.spans
            .iter()
            .map(|span| format!("{} {}–{}", span.days(&words.time.week), time(span.from), time(span.to)))
            .collect()
    }
}

impl Span {
    fn parse(line: &str) -> Option<Self> {
        let (days_text, times) = line.trim().split_once(' ')?;
        let mut days = [false; 7];
        let day = |text: &str| DAYS.iter().position(|day| text.eq_ignore_ascii_case(day));
        for part in days_text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            let mut at = first;
            loop {
                days[at] = true;
                if at == last {
                    break;
                }
                at = (at + 1) % 7;
            }
        }
        let (from, to) = times.trim().split_once('-')?;
        let (from, mut to) = (minute(from)?, minute(to)?);
        if from >= DAY || from == to {
            return None;
        }
        if to < from {
            to += DAY;
        }
        Some(Self { days, from, to })
    }

    /// The days with a stroke between the first and the last of those that follow each other.
    fn days(&self, names: &[String; 7]) -> String {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for n in (0..7).filter(|n| self.days[*n]) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == n => *last = n,
                _ => runs.push((n, n)),
            }
        }
        let runs = runs.into_iter().map(|(first, last)| match last - first {
            0 => names[first].clone(),
            _ => format!("{}–{}", names[first], names[last]),
        });
        runs.collect::<Vec<_>>().join(", ")
    }
}

/// `08:30` in minutes; `24:00` is the end of the day.
fn minute(text: &str) -> Option<i64> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let at = (digits(hour) && digits(minute)).then_some((hour.parse::<i64>().ok()?, minute.parse::<i64>().ok()?))?;
    (at.1 < 60 && at.0 * 60 + at.1 <= DAY).then_some(at.0 * 60 + at.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(lines: &[&str]) -> Hours {
        Hours::parse(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(), "Europe/Tirane").unwrap()
    }

    fn left(hours: &Hours, at: &str) -> Option<u64> {
        hours.left(at.parse().unwrap()).map(|left| left.as_secs() / 60)
    }

    #[test]
    fn it_is_open_in_its_hours_and_at_no_other() {
        let hours = hours(&["mon-fri 08:00-20:00", "sat,sun 22:00-02:00"]);
        // 2026-11-23 is a Monday; Tirana is an hour ahead.
        for (at, open) in [
            ("2026-11-23T06:59:59Z", None),
            ("2026-11-23T07:00:00Z", Some(720)),
            ("2026-11-23T18:59:00Z", Some(1)),
            ("2026-11-23T19:00:00Z", None),
            ("2026-11-28T12:00:00Z", None),
            ("2026-11-28T21:00:00Z", Some(240)),
            ("2026-11-29T00:30:00Z", Some(30)),
            ("2026-11-29T01:00:00Z", None),
            ("2026-11-30T00:30:00Z", Some(30)),
        ] {
            assert_eq!(left(&hours, at), open, "{at}");
        }
    }

    #[test]
    fn spans_that_touch_are_one_and_always_is_far() {
        let two = hours(&["mon 20:00-24:00", "tue 00:00-03:00", "tue 02:00-04:00"]);
        assert_eq!(left(&two, "2026-11-23T22:00:00Z"), Some(5 * 60));
        assert_eq!(left(&hours(&["mon-sun 00:00-24:00"]), "2026-11-23T22:00:00Z"), Some(8 * 1440));
    }

    #[test]
    fn the_night_with_an_hour_more_is_open_for_it() {
        // On 2026-10-25 at three the clocks go back to two.
        assert_eq!(left(&hours(&["sun 00:00-06:00"]), "2026-10-24T22:00:00Z"), Some(7 * 60));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "",
            "mon",
            "mon 8:00-20:00",
            "mon 08:00",
            "mon 08:00-08:00",
            "mon 24:00-25:00",
            "mon 08:00-24:01",
            "xyz 08:00-09:00",
            "mon-xyz 08:00-09:00",
            "mon 08:60-09:00",
        ] {
            assert!(Hours::parse(&[line.to_owned()], "UTC").is_err(), "{line}");
        }
        assert!(Hours::parse(&[], "Europe/Nowhere").is_err());
    }

    #[test]
    fn hours_are_written_in_the_guests_words() {
        let hours = hours(&["mon-wed,fri 08:00-20:00", "sat 22:00-02:00"]);
        assert_eq!(hours.lines(crate::words::get("en").unwrap()), ["Mon–Wed, Fri 08:00–20:00", "Sat 22:00–02:00"]);
    }
}
