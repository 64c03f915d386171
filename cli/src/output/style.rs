//! Colours where they are wanted, and text of others made harmless.

use std::borrow::Cow;
use std::env;

use crate::args::Ansi;

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    on: bool,
}

/// Colours that stand apart on dark and on light ground, in the order they are given out.
const PALETTE: [&str; 10] = ["36", "33", "32", "35", "34", "96", "93", "92", "95", "94"];

/// True if the terminal cannot move its cursor.
pub(crate) fn is_dumb() -> bool {
    env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

impl Style {
    /// NO_COLOR beats everything, then what was asked for, then what the stream is.
    pub(crate) fn for_stream(ansi: Ansi, terminal: bool) -> Self {
        let forced = env::var_os("CLICOLOR_FORCE").is_some_and(|v| !v.is_empty() && v != "0");
        let on = match ansi {
            _ if is_set("NO_COLOR") => false,
            Ansi::Never => false,
            Ansi::Always => true,
            Ansi::Auto => forced || (terminal && !is_dumb()),
        };
        Self { on }
    }

    pub(crate) fn on(self) -> bool {
        self.on
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31;1", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn blue(self, text: &str) -> String {
        self.paint("34;1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// The colour of the service at this place of an ordered list.
    pub(crate) fn nth(self, at: usize, text: &str) -> String {
        self.paint(PALETTE[at % PALETTE.len()], text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Characters that steer a terminal or turn the direction of writing.
pub(super) fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text from images, replicas and files made safe to show: what steers a terminal is written out.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_steering) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_steering(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// A JSON text with everything that steers a terminal escaped; JSON itself escapes only some of it.
pub(crate) fn clean_json(text: String) -> String {
    let steers = |c: char| c != '\n' && is_steering(c);
    if !text.chars().any(steers) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match steers(c) {
            // Outside of strings JSON has no such characters, and all of them fit four digits.
            true => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let text = "a\u{1b}]52;c;eA==\u{7}b\u{9b}31mc\u{202e}d\r\n\u{7f}é";
        let safe = clean(text);
        assert!(!safe.chars().any(is_steering), "{safe:?}");
        assert!(safe.ends_with('é'));
        assert_eq!(clean("plain ü 字"), "plain ü 字");
    }

    #[test]
    fn json_says_the_same_without_steering() {
        let value = serde_json::json!({"text": "a\u{9b}2J\u{7f}\u{202e}\u{1b}"});
        let safe = clean_json(value.to_string());
        assert!(!safe.chars().any(is_steering), "{safe}");
        let read: serde_json::Value = serde_json::from_str(&safe).expect("JSON");
        assert_eq!(read, value);
    }

    #[test]
    fn a_style_that_is_off_adds_nothing() {
        assert_eq!(Style { on: false }.red("x"), "x");
        assert!(Style { on: true }.red("x").contains("\u{1b}["));
    }
}
