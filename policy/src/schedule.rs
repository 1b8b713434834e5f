//! Schedules: when a category is blocked.

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// Windows of wall-clock time in a time zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// IANA name of the time zone.
    pub(crate) zone: Box<str>,
    pub(crate) windows: Vec<Window>,
}

/// One window of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Bit `n` is the day `n` after Monday on which the window starts.
    pub(crate) days: u8,
    /// Minutes after midnight.
    pub(crate) from: u16,
    /// Minutes after midnight; not later than `from` means on the next day.
    pub(crate) to: u16,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// What a window should look like.
pub(crate) const WINDOW: &str = "write it as \"mon-fri 08:00-16:00\", \"fri,sat 22:00-06:00\" or \"daily 00:00-24:00\"";

impl Window {
    /// Reads `mon-fri 08:00-16:00` and the like.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (days, times) = text.trim().split_once(char::is_whitespace)?;
        let (from, to) = times.trim().split_once('-')?;
        let (from, to) = (minutes(from)?, minutes(to)?);
        if from == 24 * 60 {
            return None;
        }
        Some(Self { days: days.split(',').try_fold(0, |mask, part| Some(mask | span(part)?))?, from, to })
    }

    fn holds(self, today: u8, minute: u16) -> bool {
        let yesterday = (today + 6) % 7;
        let on = |day: u8| self.days & 1 << day != 0;
        if self.from < self.to {
            on(today) && (self.from..self.to).contains(&minute)
        } else {
            on(today) && minute >= self.from || on(yesterday) && minute < self.to
        }
    }
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60 && (hour < 24 || hour == 24 && minute == 0)).then_some(hour * 60 + minute)
}

/// Days as bits: `daily`, `mon`, `mon-fri`, `sat-mon`.
fn span(text: &str) -> Option<u8> {
    let text = text.trim().to_ascii_lowercase();
    if text == "daily" {
        return Some(0x7f);
    }
    let day = |text: &str| DAYS.iter().position(|name| *name == text);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(&text)?, day(&text)?),
    };
    let length = (last + 7 - first) % 7;
    Some((0..=length).fold(0, |mask, n| mask | 1 << ((first + n) % 7)))
}

impl Schedule {
    /// Whether the moment lies in one of the windows. A zone that is not known counts as inside: the schedule says when
    /// something is blocked.
    pub(crate) fn holds(&self, at: Timestamp) -> bool {
        let Ok(zone) = TimeZone::get(&self.zone) else { return true };
        let civil = zone.to_datetime(at);
        let today = civil.weekday().to_monday_zero_offset() as u8;
        let minute = civil.hour() as u16 * 60 + civil.minute() as u16;
        self.windows.iter().any(|window| window.holds(today, minute))
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;

    use super::*;

    fn holds(windows: &[&str], at: &str) -> bool {
        let windows = windows.iter().map(|text| Window::parse(text).unwrap()).collect();
        Schedule { zone: "Europe/Tirane".into(), windows }.holds(at.parse().unwrap())
    }

    // 2026-11-23 is a Monday; Tirana is at UTC+1 in winter, UTC+2 in summer.

    #[test]
    fn window_holds_from_its_start_to_before_its_end() {
        let school = ["mon-fri 08:00-16:00"];
        assert!(!holds(&school, "2026-11-23T06:59:59Z"));
        assert!(holds(&school, "2026-11-23T07:00:00Z"));
        assert!(holds(&school, "2026-11-23T14:59:59Z"));
        assert!(!holds(&school, "2026-11-23T15:00:00Z"));
        assert!(!holds(&school, "2026-11-22T09:00:00Z"), "a Sunday");
        assert!(holds(&["daily 00:00-24:00"], "2026-11-22T22:59:59Z"));
    }

    #[test]
    fn window_over_midnight_belongs_to_the_day_it_starts() {
        let night = ["sun 22:00-06:00"];
        assert!(holds(&night, "2026-11-22T21:00:00Z"));
        assert!(holds(&night, "2026-11-23T04:59:59Z"), "Monday before six");
        assert!(!holds(&night, "2026-11-23T05:00:00Z"));
        assert!(!holds(&night, "2026-11-23T21:30:00Z"), "Monday night");
        assert!(!holds(&night, "2026-11-22T04:00:00Z"), "Sunday before six");
        assert!(holds(&["sat-mon 12:00-12:00"], "2026-11-24T10:59:00Z"), "a whole day from noon to noon");
    }

    #[test]
    fn hour_that_is_skipped_does_not_occur_and_one_that_is_repeated_counts_twice() {
        // Clocks go from 02:00 to 03:00 on 2026-03-29 and from 03:00 to 02:00 on 2026-10-25, both at 01:00 UTC.
        let early = ["sun 02:15-02:45"];
        for minute in 0..120 {
            let at: Timestamp = "2026-03-29T00:00:00Z".parse().unwrap();
            let at = at + jiff::SignedDuration::from_mins(minute);
            assert!(!holds(&early, &at.to_string()), "{at}");
        }
        assert!(holds(&early, "2026-10-25T00:30:00Z"), "the first half past two");
        assert!(holds(&early, "2026-10-25T01:30:00Z"), "the second half past two");
        let across = ["sat 22:00-06:00"];
        assert!(holds(&across, "2026-03-29T03:59:00Z") && !holds(&across, "2026-03-29T04:00:00Z"));
        assert!(holds(&across, "2026-10-25T04:59:00Z") && !holds(&across, "2026-10-25T05:00:00Z"));
    }

    #[test]
    fn schedule_of_an_unknown_zone_blocks() {
        assert!(Schedule { zone: "Nowhere/Town".into(), windows: Vec::new() }.holds(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn malformed_window_is_refused() {
        for text in [
            "",
            "mon",
            "mon 08:00",
            "moon 08:00-09:00",
            "mon 8:00-09:00",
            "mon 08:60-09:00",
            "mon 24:00-01:00",
            "mon 08:00-24:01",
            "mon- 08:00-09:00",
            "mon +8:00-09:00",
        ] {
            assert_eq!(Window::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        /// The wall clock by hand: seconds, the offset that holds then, and the days since a Thursday. Zones whose clocks change
        /// by an hour, by half an hour, in the other half of the year, during a month of fasting, and never.
        #[test]
        fn schedule_goes_by_the_wall_clock_through_every_change_of_time(
            zone in proptest::sample::select(vec![
                "Europe/Tirane", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu",
            ]),
            days in 0u8..128,
            from in 0u16..1440,
            to in 0u16..=1440,
            // From 2024 to 2030; every tenth within two hours of a change of time in Tirana or New York.
            seconds in proptest::prop_oneof![
                9 => 1_704_067_200i64..1_893_456_000,
                1 => (proptest::sample::select(vec![1_774_746_000i64, 1_792_890_000, 1_772_953_200, 1_793_512_800]), -7200i64..7200)
                    .prop_map(|(change, near)| change + near),
            ],
        ) {
            let window = Window { days, from, to };
            let schedule = Schedule { zone: zone.into(), windows: vec![window] };
            let at = Timestamp::from_second(seconds).unwrap();
            let offset = jiff::tz::TimeZone::get(zone).unwrap().to_offset(at).seconds();
            let local = seconds + i64::from(offset);
            // 1970-01-01 was a Thursday, the fourth day of a week that starts on Monday.
            let (today, minute) = ((local.div_euclid(86_400) + 3).rem_euclid(7), local.rem_euclid(86_400) / 60);
            let (from, to) = (i64::from(from), i64::from(to));
            let is_on = |day: i64| days & 1 << day.rem_euclid(7) != 0;
            let expected = if from < to {
                is_on(today) && (from..to).contains(&minute)
            } else {
                is_on(today) && minute >= from || is_on(today - 1) && minute < to
            };
            proptest::prop_assert_eq!(schedule.holds(at), expected, "{} at {}", zone, at);
        }

        #[test]
        fn window_agrees_with_its_intervals(days in 0u8..128, from in 0u16..1440, to in 0u16..=1440, asked in 0u32..7 * 1440) {
            let window = Window { days, from, to };
            let length = u32::from(if from < to { to - from } else { 1440 - from + to });
            // Minutes of the week at which the window is open, counted from each of its starts.
            let inside = (0..7).filter(|day| days & 1 << day != 0).any(|day| {
                let start = day * 1440 + u32::from(from);
                (asked + 7 * 1440 - start) % (7 * 1440) < length
            });
            let (today, minute) = ((asked / 1440) as u8, (asked % 1440) as u16);
            proptest::prop_assert_eq!(window.holds(today, minute), inside);
        }
    }
}
