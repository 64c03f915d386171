//! One entry of a log: `2026-01-02T03:04:05.123456789Z stdout F text`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use unmoor_core::backend::Channel;

/// How an entry ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As its line does.
    Line,
    /// In the midst of a line, which goes on in the next one.
    Part,
    /// With the program, in the midst of a line.
    Cut,
}

/// An entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) time: SystemTime,
    pub(super) channel: Channel,
    pub(super) end: End,
    pub(super) text: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads a line without its end; `None` for what is no entry, as the torn end of a crash.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(fields.next()?).ok().and_then(time)?;
        let channel = match fields.next()? {
            b"stdout" => Channel::Stdout,
            b"stderr" => Channel::Stderr,
            _ => return None,
        };
        let end = match fields.next()? {
            b"F" => End::Line,
            b"P" => End::Part,
            b"E" => End::Cut,
            _ => return None,
        };
        Some(Self {
            time,
            channel,
            end,
            text: fields.next().unwrap_or_default(),
        })
    }
}

/// Reads a time in UTC with up to nine digits of fraction.
fn time(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (date, clock) = whole.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let sane = (1970..10_000).contains(&year) && (1..=12).contains(&month);
    if !sane || day > 31 || hour > 23 || minute > 59 || second > 60 || fraction.len() > 9 {
        return None;
    }
    let nanos = match fraction {
        "" => 0,
        digits => digits.parse::<u32>().ok()? * 10u32.pow(9 - u32::try_from(digits.len()).ok()?),
    };
    let seconds = days_since_1970(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second;
    Some(UNIX_EPOCH + Duration::new(seconds, nanos))
}

/// Days of the proleptic Gregorian calendar, counted with years that begin in March so that the
/// leap day comes last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year / 4 - year / 100 + year / 400;
    (year * 365 + leaps + (month * 153 + 2) / 5 + day).checked_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<f64> {
        let since = time(text)?.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_secs_f64())
    }

    #[test]
    fn times_are_exact() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(seconds("2000-02-29T12:00:00.5Z"), Some(951_825_600.5));
        assert_eq!(seconds("2026-01-02T03:04:05Z"), Some(1_767_323_045.0));
        for bad in [
            "",
            "2026-01-02",
            "2026-13-01T00:00:00Z",
            "2026-01-02T03:04:05",
            "xZ",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn entries_and_what_is_none() {
        let entry = Entry::parse(b"2026-01-02T03:04:05Z stderr P a b ").expect("an entry");
        assert_eq!(
            (entry.channel, entry.end, entry.text),
            (Channel::Stderr, End::Part, &b"a b "[..])
        );
        let empty = Entry::parse(b"2026-01-02T03:04:05Z stdout F ").expect("an empty line");
        assert_eq!(empty.text, b"");
        for bad in [&b""[..], b"2026-01-02T03:04:05Z stdou", b"x stdout F y"] {
            assert_eq!(Entry::parse(bad), None);
        }
    }
}
