//! Wall time as records write it: UTC, milliseconds, one spelling.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::DateTime, tz::Offset};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A moment, in milliseconds since 1970 UTC; written `2026-11-23T07:00:00.000Z`. Years 1970 to 9998.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// 9998-12-31T23:59:59.999Z.
const LAST: i64 = 253_370_764_799_999;

/// A text or number that is no [`Time`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: want UTC with milliseconds such as 2026-11-23T07:00:00.000Z")]
pub struct NotATime(String);

impl Time {
    /// From milliseconds since 1970 UTC; `None` before 1970 and after 9998.
    pub fn from_millis(millis: i64) -> Option<Self> {
        (0..=LAST).contains(&millis).then_some(Self(millis))
    }

    /// Milliseconds since 1970 UTC.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// This many milliseconds later (or earlier), within 1970 to 9998.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis).clamp(0, LAST))
    }

    /// The date in UTC, `2026-11-23`.
    pub fn date(self) -> String {
        self.to_string()[..10].to_owned()
    }

    /// Midnight UTC of a date `2026-11-23`.
    ///
    /// # Errors
    /// When the text is not such a date.
    pub fn midnight(date: &str) -> Result<Self, NotATime> {
        format!("{date}T00:00:00.000Z").parse().map_err(|_| NotATime(date.to_owned()))
    }

    fn civil(self) -> DateTime {
        let moment = Timestamp::from_millisecond(self.0).expect("1970 to 9998 are within jiff's range");
        Offset::UTC.to_datetime(moment)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.civil();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }
}

impl FromStr for Time {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        read(text.as_bytes()).ok_or_else(|| NotATime(text.to_owned()))
    }
}

fn read(text: &[u8]) -> Option<Time> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00.000Z";
    let fits = |(&byte, &want): (&u8, &u8)| if want == b'0' { byte.is_ascii_digit() } else { byte == want };
    if text.len() != SHAPE.len() || !text.iter().zip(SHAPE).all(fits) {
        return None;
    }
    let number =
        |from: usize, to: usize| text[from..to].iter().fold(0_i32, |n, digit| n * 10 + i32::from(digit - b'0'));
    let small = |from: usize, to: usize| i8::try_from(number(from, to)).ok();
    let year = i16::try_from(number(0, 4)).ok()?;
    // `new` refuses the 30th of February and second 60.
    let at = DateTime::new(
        year,
        small(5, 7)?,
        small(8, 10)?,
        small(11, 13)?,
        small(14, 16)?,
        small(17, 19)?,
        number(20, 23) * 1_000_000,
    )
    .ok()?;
    Time::from_millis(Offset::UTC.to_timestamp(at).ok()?.as_millisecond())
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_read_and_written_the_same() {
        for text in ["1970-01-01T00:00:00.000Z", "2024-02-29T23:59:59.999Z", "9998-12-31T23:59:59.999Z"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_spellings_and_impossible_dates_are_refused() {
        for text in [
            "2026-11-23T07:00:00Z",
            "2026-11-23T07:00:00.0000Z",
            "2026-11-23T07:00:00.000+00:00",
            "2026-11-23 07:00:00.000Z",
            "2026-02-30T07:00:00.000Z",
            "2026-11-23T24:00:00.000Z",
            "2016-12-31T23:59:60.000Z",
            "1969-12-31T23:59:59.999Z",
            "２026-11-23T07:00:00.000Z",
            "",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }
}
