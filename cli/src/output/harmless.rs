//! Lines of replicas made harmless for a terminal: colours pass, everything else that steers it is
//! written out.

use std::borrow::Cow;

use super::style::is_steering;

/// Longest list of numbers of a colour that is believed.
const LONGEST: usize = 64;
/// Ends all colours, so that no line colours the next one.
const PLAIN: &str = "\u{1b}[0m";

/// One line of a replica as a terminal may get it: text, tabs and colours.
pub(crate) fn harmless(line: &str) -> Cow<'_, str> {
    // Programs that write to a terminal of their own end their lines so.
    let line = line.trim_end_matches('\r');
    if !line.chars().any(steers) {
        return Cow::Borrowed(line);
    }
    let mut safe = String::with_capacity(line.len() + 8);
    let mut coloured = false;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let colour = colour(rest);
        let (taken, left) = rest.split_at(colour.unwrap_or(c.len_utf8()));
        match colour {
            Some(_) => safe.push_str(taken),
            None if steers(c) => safe.extend(c.escape_default()),
            None => safe.push(c),
        }
        coloured |= colour.is_some();
        rest = left;
    }
    if coloured {
        safe.push_str(PLAIN);
    }
    Cow::Owned(safe)
}

fn steers(c: char) -> bool {
    c != '\t' && is_steering(c)
}

/// Length of the sequence of colours and weights (SGR) that a text begins with.
fn colour(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix("\u{1b}[")?;
    let end = numbers.find(|c: char| !(c.is_ascii_digit() || matches!(c, ';' | ':')))?;
    let is_colour = end <= LONGEST && numbers[end..].starts_with('m');
    is_colour.then_some("\u{1b}[".len() + end + "m".len())
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn text_tabs_and_colours_pass() {
        assert_eq!(harmless("plain\tü 字"), "plain\tü 字");
        assert_eq!(harmless("ended by a terminal\r"), "ended by a terminal");
        let red = "\u{1b}[1;31mred\u{1b}[38:2::1:2:3mx";
        assert_eq!(harmless(red), format!("{red}\u{1b}[0m"));
    }

    #[test]
    fn nothing_else_steers() {
        for (line, wanted) in [
            ("a\u{1b}]0;title\u{7}b", r"a\u{1b}]0;title\u{7}b"),
            ("\u{1b}[2Jmid\rover", r"\u{1b}[2Jmid\rover"),
            ("\u{1b}[?4m\u{1b}[>4;1m", r"\u{1b}[?4m\u{1b}[>4;1m"),
            ("\u{9b}31m\u{202e}x\u{8}", r"\u{9b}31m\u{202e}x\u{8}"),
            ("\u{1b}[31", r"\u{1b}[31"),
            ("one\ntwo", r"one\ntwo"),
        ] {
            assert_eq!(harmless(line), wanted, "{line:?}");
        }
        let long = format!("\u{1b}[{}m", "1;".repeat(40));
        assert!(!harmless(&long).contains('\u{1b}'));
    }
}
