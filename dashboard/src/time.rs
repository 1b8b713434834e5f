//! Times as people read them.

use jiff::{Timestamp, tz::TimeZone};

use crate::words::{Words, fill};

/// A time as pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct When {
    /// For programs (RFC 3339).
    pub(crate) machine: String,
    /// Day and minute.
    pub(crate) full: String,
    /// How long ago.
    pub(crate) ago: String,
}

impl When {
    pub(crate) fn new(at: i64, now: i64, zone: &TimeZone, words: &Words) -> Self {
        let timestamp = Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH);
        let zoned = timestamp.to_zoned(zone.clone());
        Self {
            machine: timestamp.to_string(),
            full: zoned.strftime(&words.time.full).to_string(),
            ago: ago(now - at, words),
        }
    }
}

/// How long ago something was, given the seconds since.
pub(crate) fn ago(seconds: i64, words: &Words) -> String {
    let time = &words.time;
    let (text, n) = match seconds {
        ..60 => return time.now.clone(),
        60..3600 => (&time.minutes_ago, seconds / 60),
        3600..7200 => (&time.hour_ago, 1),
        7200..172_800 => (&time.hours_ago, seconds / 3600),
        _ => (&time.days_ago, seconds / 86_400),
    };
    fill(text, &[("n", &n.to_string())])
}

/// A length of time, given in seconds.
pub(crate) fn span(seconds: i64, words: &Words) -> String {
    let time = &words.time;
    let (text, n) = match seconds {
        ..3600 => (&time.minutes, seconds / 60),
        3600..172_800 => (&time.hours, seconds / 3600),
        _ => (&time.days, seconds / 86_400),
    };
    fill(text, &[("n", &n.to_string())])
}

/// A time as somebody typed it into a form, in a zone: `2026-12-24T22:30`.
pub(crate) fn typed(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    civil.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
}

/// A number with its thousands apart.
pub(crate) fn number(n: u64, words: &Words) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push_str(&words.time.thousands);
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;

    #[test]
    fn times_and_numbers_read_as_each_language_writes_them() {
        let (sq, en) = (words::get("sq").unwrap(), words::get("en").unwrap());
        let zone = TimeZone::get("Europe/Tirane").unwrap();
        assert_eq!(When::new(1_795_423_260, 1_795_423_260, &zone, sq).full, "23.11.2026, 09:41");
        assert_eq!(When::new(1_795_423_260, 1_795_430_460, &zone, en).ago, "2 h ago");
        assert_eq!(
            (number(1_234_567, sq), number(999, sq), number(1_000, en)),
            ("1 234 567".into(), "999".into(), "1,000".into())
        );
        assert_eq!(typed("2026-11-23T09:41", &zone).unwrap().as_second(), 1_795_423_260);
        assert_eq!(typed("yesterday", &zone), None);
    }
}
