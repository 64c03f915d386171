//! Signals by name or number, as images and Compose files write them.

/// Names with their numbers; the same on x86_64 and aarch64.
const NAMES: [(&str, u32); 33] = [
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

/// SIGTERM.
pub(crate) const TERM: u32 = 15;

/// Reads `SIGTERM`, `term`, `15`, `RTMIN+3`.
pub(crate) fn parse(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    // As docker counts: the C library keeps 32 and 33 for itself.
    let offset = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text[1..].parse::<u32>().ok()
        }
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let ok = rest.is_empty() || rest.starts_with('+');
        return ok
            .then(|| offset(rest))
            .flatten()
            .map(|n| 34 + n)
            .filter(|n| *n <= 64);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let ok = rest.is_empty() || rest.starts_with('-');
        let down = ok.then(|| offset(rest)).flatten()?;
        return 64u32.checked_sub(down).filter(|n| *n >= 34);
    }
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+99", None),
            ("RTMIN3", None),
            ("0", None),
            ("65", None),
            ("SIGNOPE", None),
            ("", None),
        ] {
            assert_eq!(parse(text), number, "{text}");
        }
    }
}
