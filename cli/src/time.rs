//! Times as people and programs read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use unmoor::units::parse_duration;

const DAY: u64 = 86_400;

/// `2026-11-22T11:51:45.123456789Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, rest) = (since.as_secs() / DAY, since.as_secs() % DAY);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
        since.subsec_nanos()
    )
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years that begin in March put the leap day last, so that months have a regular length.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Days since 1970 of a date; `None` for a date that is not.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year_of_march = year - u64::from(month <= 2);
    let (era, of_era) = (year_of_march / 400, year_of_march % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let total = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let days = total.checked_sub(719_468)?;
    (civil(days) == (year, month, day)).then_some(days)
}

/// Reads a moment: `10m` (ago), seconds since 1970, `2026-11-22`, `2026-11-22T11:51:45Z`.
pub(crate) fn parse_moment(text: &str, now: SystemTime) -> Option<SystemTime> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return UNIX_EPOCH.checked_add(Duration::from_secs(text.parse().ok()?));
    }
    if let Ok(ago) = parse_duration(text) {
        return Some(now.checked_sub(ago).unwrap_or(UNIX_EPOCH));
    }
    let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00Z"));
    let mut parts = date.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let clock = clock.strip_suffix('Z').unwrap_or(clock);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.splitn(3, ':').map(number);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day)? * DAY + hour * 3600 + minute * 60 + second;
    let nanos: u32 = format!("{:0<9.9}", fraction).parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// `3 minutes`, as docker says it.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        0 => return "less than a second".to_owned(),
        1..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        172_800..1_209_600 => (seconds / DAY, "day"),
        1_209_600..5_184_000 => (seconds / (7 * DAY), "week"),
        5_184_000..63_072_000 => (seconds / (30 * DAY), "month"),
        _ => (seconds / (365 * DAY), "year"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// How long ago a moment was; a moment in the future was just now.
pub(crate) fn since(moment: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(moment).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn dates_go_both_ways() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_795_348_305, "2026-11-22T11:51:45"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(rfc3339(at(seconds)), format!("{text}.000000000Z"));
            assert_eq!(
                parse_moment(&format!("{text}Z"), at(0)),
                Some(at(seconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn moments_are_also_ago_dates_and_seconds() {
        let now = at(10_000);
        assert_eq!(parse_moment("10m", now), Some(at(9400)));
        assert_eq!(parse_moment("9000", now), Some(at(9000)));
        assert_eq!(parse_moment("1970-01-02", now), Some(at(DAY)));
        let half = parse_moment("1970-01-01T00:00:01.5", now);
        assert_eq!(half, Some(at(1) + Duration::from_millis(500)));
        for bad in [
            "",
            "yesterday",
            "2026-02-30",
            "2026-13-01",
            "2026-01-01T25:00",
            "-5",
            "1.x",
        ] {
            assert_eq!(parse_moment(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn durations_are_said_as_docker_says_them() {
        assert_eq!(in_words(Duration::from_secs(1)), "1 second");
        assert_eq!(in_words(Duration::from_secs(150)), "2 minutes");
        assert_eq!(in_words(Duration::from_secs(90_000)), "25 hours");
        assert_eq!(in_words(Duration::from_secs(10 * DAY)), "10 days");
    }
}
