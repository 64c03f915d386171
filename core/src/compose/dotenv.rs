//! Files of variables: `.env`, `env_file`, `label_file`.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::template::{self, Use, Values};
use super::text::shown;

/// Most text that the variables of one file may expand to.
const MAX_EXPANDED: usize = 16 << 20;

/// Why a file of variables cannot be read, and at which line.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{text}")]
pub(super) struct DotenvError {
    pub(super) line: usize,
    text: String,
}

/// Variables by name, each with the line it stands at.
pub(super) type Places = BTreeMap<String, (String, usize)>;

/// Variables that values name and that are not set, each with the line of the value.
pub(super) type Unset = Vec<(String, usize)>;

/// Looks a variable up outside of the file.
pub(super) type Outside<'o> = &'o dyn Fn(&str) -> Option<String>;

/// Reads `NAME=value` lines: quotes, comments, `export`, variables. A name alone is taken from
/// `outside`, which also wins over the file's own values inside of values.
pub(super) fn parse(
    text: &str,
    outside: Outside<'_>,
) -> Result<BTreeMap<String, String>, DotenvError> {
    let found = parse_places(text, outside, &mut Unset::new())?.into_iter();
    Ok(found.map(|(name, (value, _))| (name, value)).collect())
}

/// As [`parse`], with the line of each variable.
pub(super) fn parse_places(
    text: &str,
    outside: Outside<'_>,
    unset: &mut Unset,
) -> Result<Places, DotenvError> {
    parse_onto(text, outside, Places::new(), unset)
}

/// As [`parse_places`], after files that said `before`.
pub(super) fn parse_onto(
    text: &str,
    outside: Outside<'_>,
    before: Places,
    unset: &mut Unset,
) -> Result<Places, DotenvError> {
    let text = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .replace("\r\n", "\n");
    let mut reader = Reader {
        text: &text,
        rest: &text,
        outside,
        found: before,
        unset,
        left: MAX_EXPANDED,
        counted: Cell::new((0, 0)),
    };
    while reader.skip_to_statement() {
        reader.statement()?;
    }
    Ok(reader.found)
}

/// Reads `NAME=value` lines whose values are taken as they are.
pub(super) fn parse_raw(text: &str, outside: Outside<'_>) -> Result<Places, DotenvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line.trim_end(), outside(line.trim_end())),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            let text = format!("`{}` is not a variable name", shown(name));
            return Err(DotenvError {
                line: index + 1,
                text,
            });
        }
        if let Some(value) = value {
            found.insert(name.to_owned(), (value, index + 1));
        }
    }
    Ok(found)
}

struct Reader<'t, 'o, 'u> {
    text: &'t str,
    rest: &'t str,
    outside: Outside<'o>,
    found: Places,
    unset: &'u mut Unset,
    left: usize,
    /// How far lines are counted, and how many there were.
    counted: Cell<(usize, usize)>,
}

/// Looks in the file's own values after the outside.
struct Both<'r, 'o> {
    outside: Outside<'o>,
    found: &'r Places,
    unset: &'r mut Unset,
    line: usize,
}

impl Values for Both<'_, '_> {
    fn value(&mut self, name: &str, how: Use<'_>) -> Option<String> {
        let own = || self.found.get(name).map(|(value, _)| value.clone());
        let value = (self.outside)(name).or_else(own);
        if value.is_none() && matches!(how, Use::Plain) {
            self.unset.push((name.to_owned(), self.line));
        }
        value
    }
}

fn is_blank(c: char) -> bool {
    c != '\n' && c.is_whitespace()
}

impl<'t> Reader<'t, '_, '_> {
    fn error(&self, text: String) -> DotenvError {
        let line = self.line();
        DotenvError { line, text }
    }

    /// The line that is read, counted on from where it was counted last.
    fn line(&self) -> usize {
        let done = self.text.len() - self.rest.len();
        let (counted, lines) = self.counted.get();
        let lines = lines + self.text[counted..done].matches('\n').count();
        self.counted.set((done, lines));
        1 + lines
    }

    /// Skips white space and comments; false at the end.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
    }

    fn statement(&mut self) -> Result<(), DotenvError> {
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with(is_blank)
        {
            self.rest = after.trim_start_matches(is_blank);
        }
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let name = self.rest[..end].trim_end();
        let allowed = |c: char| c.is_alphanumeric() || "_.-[]".contains(c);
        let inherited = !self.rest[end..].starts_with(['=', ':']);
        // Without a name before `=` it is a variable of that name, as docker compose has it.
        if (name.is_empty() && inherited) || !name.chars().all(allowed) {
            let text = format!("`{}` is not a variable name", shown(name));
            return Err(self.error(text));
        }
        if inherited {
            self.rest = &self.rest[end..];
            if let Some(value) = (self.outside)(name) {
                let line = self.line();
                self.found.insert(name.to_owned(), (value, line));
            }
            return Ok(());
        }
        let line = self.line();
        self.rest = self.rest[end + 1..].trim_start_matches(is_blank);
        let value = self.value()?;
        self.found.insert(name.to_owned(), (value, line));
        Ok(())
    }

    fn value(&mut self) -> Result<String, DotenvError> {
        if let Some(quote) = self.rest.chars().next().filter(|c| "\"'".contains(*c)) {
            return self.quoted(quote);
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        let value = line.split_once(" #").map_or(line, |(value, _)| value);
        let value = self.expanded(value.trim_end())?;
        self.rest = rest;
        Ok(value)
    }

    fn quoted(&mut self, quote: char) -> Result<String, DotenvError> {
        let body = &self.rest[1..];
        let mut value = String::new();
        let mut chars = body.char_indices();
        while let Some((index, c)) = chars.next() {
            if c == quote {
                if quote == '"' {
                    value = self.expanded(&unescaped(&value))?;
                }
                self.rest = &body[index + 1..];
                return Ok(value);
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            match chars.next() {
                Some((_, next)) if next == quote => value.push(quote),
                Some((_, next)) => value.extend(['\\', next]),
                None => break,
            }
        }
        Err(self.error("a quote is not closed".to_owned()))
    }

    fn expanded(&mut self, text: &str) -> Result<String, DotenvError> {
        let line = self.line();
        let mut values = Both {
            outside: self.outside,
            found: &self.found,
            unset: self.unset,
            line,
        };
        let expanded = template::expand(text, &mut values, self.left)
            .map_err(|error| self.error(error.to_string()))?;
        self.left -= expanded.len().min(self.left);
        Ok(expanded)
    }
}

/// The escapes of double quotes; what is none stays with its backslash.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let plain = match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '"' | '\\' => c,
            '$' => {
                // Doubled, because variables are expanded after this.
                out.push('$');
                '$'
            }
            _ => {
                out.extend(['\\', c]);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        out.push(plain);
        rest = &rest[1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> BTreeMap<String, String> {
        let outside = |name: &str| (name == "OUT").then(|| "outside".to_owned());
        parse(text, &outside).expect("a valid file")
    }

    #[test]
    fn values_are_read_as_docker_compose_reads_them() {
        let text = "# comment\nexport A=1 # tail\nB='x $A # y'\nC=\"a\\nb ${A} \\$A\"\r\nD=${A}-$OUT\n\
                    E:yaml\nOUT\nGONE\nF=a#b\nG=\nH = spaced \nM=\"two\nlines\"\nI='it\\'s'\nJ=\"q\\\"q\"";
        let found = read(text);
        let get = |name: &str| found.get(name).map(String::as_str);
        assert_eq!(get("A"), Some("1"));
        assert_eq!(get("B"), Some("x $A # y"));
        assert_eq!(get("C"), Some("a\nb 1 $A"));
        assert_eq!(get("D"), Some("1-outside"));
        assert_eq!(get("E"), Some("yaml"));
        assert_eq!(get("OUT"), Some("outside"));
        assert_eq!(get("GONE"), None);
        assert_eq!(get("F"), Some("a#b"));
        assert_eq!(get("G"), Some(""));
        assert_eq!(get("H"), Some("spaced"));
        assert_eq!(get("M"), Some("two\nlines"));
        assert_eq!(get("I"), Some("it's"));
        assert_eq!(get("J"), Some("q\"q"));
    }

    #[test]
    fn errors_name_their_line() {
        let none = |_: &str| None;
        let line = |text: &str| parse(text, &none).expect_err("invalid").line;
        assert_eq!(line("A=1\nB C=2\n"), 2);
        assert_eq!(line("A=1\n\nB=\"open"), 3);
        assert_eq!(line("A=${"), 1);
        assert_eq!(line("A=1\n= ${"), 2);
    }

    #[test]
    fn a_line_without_a_name_is_a_variable_without_one() {
        let found = read("=1\nA=2\n: x\n=\"two\nlines\"\nB=3\n");
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["", "A", "B"]);
        assert_eq!(found["B"], "3");
    }

    #[test]
    fn what_values_name_and_nobody_sets_is_told() {
        let none = |_: &str| None;
        let mut unset = Unset::new();
        let text = "A=$GONE\nB='$NO'\nC=${D:-x}\n\nE=\"a\n$A ${LOST}\"\n";
        let found = parse_places(text, &none, &mut unset).expect("valid");
        assert_eq!(found.len(), 4);
        let wanted = [("GONE".to_owned(), 1), ("LOST".to_owned(), 5)];
        assert_eq!(unset, wanted);
    }

    #[test]
    fn raw_values_stay_as_they_are() {
        let none = |_: &str| None;
        let found = parse_raw("A=\"q\" # $X\nB\n", &none).expect("valid");
        assert_eq!(
            found.get("A").map(|(value, _)| value.as_str()),
            Some("\"q\" # $X")
        );
        assert_eq!(found.len(), 1);
    }
}
