//! Signals by name or number, as images, Compose files and command lines write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// Names with their numbers; the same on x86_64 and aarch64. Of two names the first is shown.
const NAMES: [(&str, u8); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// A signal of Linux, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Signal(u8);

impl Signal {
    /// SIGKILL: ends a program at once, whatever it does.
    pub const KILL: Self = Self(9);
    /// SIGTERM: asks a program to end.
    pub const TERM: Self = Self(15);

    /// Reads `SIGTERM`, `term`, `15`, `RTMIN+3`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<u8>() {
            return (1..=64).contains(&number).then_some(Self(number));
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        // As docker counts: the C library keeps 32 and 33 for itself.
        let offset = |text: &str| match text {
            "" => Some(0),
            _ => text[1..].parse::<u8>().ok(),
        };
        if let Some(rest) = name.strip_prefix("RTMIN") {
            let up = offset(rest).filter(|_| rest.is_empty() || rest.starts_with('+'))?;
            return 34u8.checked_add(up).filter(|n| *n <= 64).map(Self);
        }
        if let Some(rest) = name.strip_prefix("RTMAX") {
            let down = offset(rest).filter(|_| rest.is_empty() || rest.starts_with('-'))?;
            return 64u8.checked_sub(down).filter(|n| *n >= 34).map(Self);
        }
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, number)| Self(*number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text).ok_or_else(|| {
            let shown: String = text
                .chars()
                .take(40)
                .flat_map(char::escape_default)
                .collect();
            Error::new(ErrorKind::InvalidSpec, format!("`{shown}` is not a signal"))
                .hint("write it as SIGTERM, TERM, 15 or RTMIN+3")
        })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 >= 34 => write!(f, "SIGRTMIN+{}", self.0 - 34),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Signal;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+99", None),
            ("RTMIN+255", None),
            ("RTMIN3", None),
            ("0", None),
            ("65", None),
            ("SIGNOPE", None),
            ("", None),
        ] {
            assert_eq!(Signal::parse(text).map(Signal::number), number, "{text}");
        }
        assert_eq!(Signal::KILL.to_string(), "SIGKILL");
        assert_eq!(
            Signal::parse("37").map(|s| s.to_string()).as_deref(),
            Some("SIGRTMIN+3")
        );
    }
}
