//! Small readings of text: what is safe to show, paths, and a command line's words.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The text as it may stand in a message: short, on one line, without control characters.
pub(super) fn shown(text: &str) -> String {
    cut(text, 80)
}

/// A path as it may stand in a message.
pub(super) fn shown_path(path: &Path) -> String {
    cut(&path.to_string_lossy(), 400)
}

/// The path of a field as it may stand in a message.
pub(super) fn shown_field(parts: &[Arc<str>]) -> String {
    let mut path = String::new();
    for part in parts {
        if !path.is_empty() && &**part != "[]" {
            path.push('.');
        }
        path.push_str(&shown(part));
    }
    path
}

fn cut(text: &str, longest: usize) -> String {
    let mut short: String = text.chars().take(longest).flat_map(escaped).collect();
    if text.chars().nth(longest).is_some() {
        short.push('…');
    }
    short
}

/// Letters of any script stay; control and direction characters are written out.
fn escaped(c: char) -> impl Iterator<Item = char> {
    let risky = c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let (plain, out) = if risky {
        (None, Some(c.escape_default()))
    } else {
        (Some(c), None)
    };
    plain.into_iter().chain(out.into_iter().flatten())
}

/// `base` and `path` together without `.` and `..`; nothing is looked up on a disk.
pub(super) fn join(base: &Path, path: &Path) -> PathBuf {
    let mut joined = PathBuf::new();
    for part in base.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !joined.pop() || joined.as_os_str().is_empty() {
                    joined.push(Component::RootDir);
                }
            }
            part => joined.push(part),
        }
    }
    joined
}

/// A path of the file made absolute: `~` is the home directory, the rest starts from `base`.
pub(super) fn absolute(base: &Path, home: Option<&Path>, path: &str) -> Option<PathBuf> {
    if let Some(rest) = path.strip_prefix('~')
        && (rest.is_empty() || rest.starts_with('/'))
    {
        let rest = rest.trim_start_matches('/');
        return Some(join(home?, Path::new(rest)));
    }
    Some(join(base, Path::new(path)))
}

/// The words of a command line, and where it was cut off.
#[derive(Debug, PartialEq)]
pub(super) struct Words {
    pub(super) words: Vec<String>,
    /// The operator of a shell that ended the reading, as docker compose ends there too.
    pub(super) cut: Option<char>,
}

/// Splits a command line as a shell would, without variables, globs or operators.
pub(super) fn words(line: &str) -> Result<Words, &'static str> {
    let mut split = Split::default();
    for c in line.chars() {
        if !split.take(c)? {
            break;
        }
    }
    if split.escaped || split.single || split.double || split.back || split.dollar {
        return Err("a quote is not closed");
    }
    split.end_word();
    Ok(Words {
        words: split.words,
        cut: split.cut,
    })
}

/// A command line half read.
#[derive(Default)]
struct Split {
    words: Vec<String>,
    word: String,
    /// There is a word, even if it is empty.
    started: bool,
    escaped: bool,
    single: bool,
    double: bool,
    back: bool,
    dollar: bool,
    cut: Option<char>,
}

impl Split {
    fn end_word(&mut self) {
        if self.started {
            self.words.push(std::mem::take(&mut self.word));
        }
        self.word.clear();
        self.started = false;
    }

    fn push(&mut self, c: char) {
        self.word.push(c);
        self.started = true;
    }

    /// Reads one character; false if nothing behind it counts.
    fn take(&mut self, c: char) -> Result<bool, &'static str> {
        let inside = self.single || self.double || self.back || self.dollar;
        match c {
            _ if self.escaped => {
                self.escaped = false;
                self.push(c);
            }
            '\\' if self.single => self.word.push(c),
            '\\' => self.escaped = true,
            ' ' | '\t' | '\r' | '\n' if inside => self.word.push(c),
            ' ' | '\t' | '\r' | '\n' => self.end_word(),
            '"' if !self.single && !self.dollar => {
                self.started |= self.double;
                self.double = !self.double;
            }
            '\'' if !self.double && !self.dollar => {
                self.started |= self.single;
                self.single = !self.single;
            }
            '(' if !(self.single || self.double || self.back) => {
                if self.dollar || !self.word.ends_with('$') {
                    return Err("a parenthesis stands outside of quotes");
                }
                self.dollar = true;
                self.word.push(c);
            }
            ';' | '&' | '|' | '<' | '>' if !inside => {
                // The number of a stream before `>` is no word.
                if c == '>' && self.word.starts_with(|c: char| c.is_ascii_digit()) {
                    self.started = false;
                }
                self.cut = Some(c);
                return Ok(false);
            }
            _ => {
                if c == '`' && !(self.single || self.double || self.dollar) {
                    self.back = !self.back;
                } else if c == ')' && !(self.single || self.double || self.back) {
                    self.dollar = !self.dollar;
                }
                self.push(c);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_without_looking_them_up() {
        let base = Path::new("/home/me/shop");
        let abs = |path| {
            absolute(base, Some(Path::new("/home/me")), path).map(|p| p.display().to_string())
        };
        assert_eq!(abs("./a/../b").as_deref(), Some("/home/me/shop/b"));
        assert_eq!(abs("../../../../x").as_deref(), Some("/x"));
        assert_eq!(abs("/etc/./passwd").as_deref(), Some("/etc/passwd"));
        assert_eq!(abs("~/x").as_deref(), Some("/home/me/x"));
        assert_eq!(abs("~").as_deref(), Some("/home/me"));
        assert_eq!(abs("~other/x").as_deref(), Some("/home/me/shop/~other/x"));
        assert_eq!(absolute(base, None, "~/x"), None);
    }

    #[test]
    fn words_follow_quotes() {
        let split = |line| words(line).map(|w| w.words);
        assert_eq!(split("a  b"), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(
            split(r#"sh -c "a 'b' && c""#),
            Ok(vec!["sh".into(), "-c".into(), "a 'b' && c".into()])
        );
        assert_eq!(split(r"a\ b ''"), Ok(vec!["a b".into(), String::new()]));
        assert_eq!(split(""), Ok(Vec::new()));
        assert!(split("'a").is_err());
        let cut = words("kong up && kong finish").expect("splits");
        assert_eq!(
            (cut.words, cut.cut),
            (vec!["kong".into(), "up".into()], Some('&'))
        );
    }

    #[test]
    fn messages_carry_no_control_characters() {
        assert_eq!(shown("a\u{1b}[31m\nb\u{202e}"), "a\\u{1b}[31m\\nb\\u{202e}");
        assert_eq!(shown("größe"), "größe");
    }
}
