//! `$VAR`, `${VAR}` with its operators, and `$$`, in one text.
//!
//! One pass: what a variable brings in is not looked at again. Nesting and length are bounded.

use std::collections::BTreeMap;

use super::TemplateVariable;

/// Deepest nesting of `${A:-${B:-…}}`.
const MAX_NESTING: usize = 32;

/// One use of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use<'t> {
    /// `$A` or `${A}`.
    Plain,
    /// `${A:-text}` or `${A-text}`.
    Default(&'t str),
    /// `${A:?text}` or `${A?text}`.
    Required,
    /// `${A:+text}` or `${A+text}`.
    Alternative,
}

/// Where values come from, and who hears what was used.
pub(super) trait Values {
    /// The value of a variable; called once for each use that is evaluated.
    fn value(&mut self, name: &str, how: Use<'_>) -> Option<String>;
}

/// Why a text cannot be interpolated.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("`{0}` is not a variable; write a dollar sign as $$")]
    Invalid(String),
    #[error("the variable {name} must have a value{}", reason(.message))]
    Required { name: String, message: String },
    #[error("variables are nested more than {MAX_NESTING} deep")]
    Nested,
    #[error("the text with its variables is too long")]
    Long,
}

fn reason(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {}", super::text::shown(message))
    }
}

/// Replaces the variables of `text`; the result has at most `limit` bytes.
pub(super) fn expand(
    text: &str,
    values: &mut dyn Values,
    limit: usize,
) -> Result<String, TemplateError> {
    let mut expander = Expander {
        values,
        left: limit,
    };
    expander.expand(text, 0)
}

struct Expander<'v> {
    values: &'v mut dyn Values,
    left: usize,
}

impl Expander<'_> {
    fn expand(&mut self, text: &str, depth: usize) -> Result<String, TemplateError> {
        if depth > MAX_NESTING {
            return Err(TemplateError::Nested);
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            self.push(&mut out, &rest[..dollar])?;
            let after = &rest[dollar + 1..];
            if let Some(tail) = after.strip_prefix('$') {
                self.push(&mut out, "$")?;
                rest = tail;
            } else if let Some(body) = after.strip_prefix('{') {
                let (value, tail) = self.braced(body, depth)?;
                self.push(&mut out, &value)?;
                rest = tail;
            } else {
                let (name, tail) = split_name(after);
                if name.is_empty() {
                    self.push(&mut out, "$")?;
                } else {
                    let value = self.values.value(name, Use::Plain).unwrap_or_default();
                    self.push(&mut out, &value)?;
                }
                rest = tail;
            }
        }
        self.push(&mut out, rest)?;
        Ok(out)
    }

    fn push(&mut self, out: &mut String, text: &str) -> Result<(), TemplateError> {
        self.left = self
            .left
            .checked_sub(text.len())
            .ok_or(TemplateError::Long)?;
        out.push_str(text);
        Ok(())
    }

    /// Reads from behind `${` to behind its `}`.
    fn braced<'t>(
        &mut self,
        body: &'t str,
        depth: usize,
    ) -> Result<(String, &'t str), TemplateError> {
        let invalid = || {
            let shown: String = body.chars().take(30).collect();
            TemplateError::Invalid(super::text::shown(&format!("${{{shown}")))
        };
        let (name, rest) = split_name(body);
        if name.is_empty() {
            return Err(invalid());
        }
        if let Some(tail) = rest.strip_prefix('}') {
            let value = self.values.value(name, Use::Plain);
            return Ok((value.unwrap_or_default(), tail));
        }
        let (or_empty, rest) = match rest.strip_prefix(':') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let operator = rest.chars().next().filter(|c| "-?+".contains(*c));
        let operator = operator.ok_or_else(invalid)?;
        // A variable ends on the line it starts on.
        let line = rest.find('\n').map_or(rest, |end| &rest[..end]);
        let last = line.rfind('}').ok_or_else(invalid)?;
        let start = body.len() - rest.len();
        let close = closing(&body[..=start + last]).unwrap_or(start + last);
        let (word, tail) = (&body[start + 1..close], &body[close + 1..]);
        let how = match operator {
            '-' => Use::Default(word),
            '?' => Use::Required,
            _ => Use::Alternative,
        };
        // The word counts even where it is not used: what is required in it is required.
        let word = self.expand(word, depth + 1)?;
        let value = self.values.value(name, how);
        let usable = value.filter(|value| !(or_empty && value.is_empty()));
        let text = match (operator, usable) {
            ('-' | '?', Some(value)) => value,
            ('-', None) | ('+', Some(_)) => word,
            ('+', None) => String::new(),
            _ => {
                let name = name.to_owned();
                return Err(TemplateError::Required {
                    name,
                    message: word,
                });
            }
        };
        Ok((text, tail))
    }
}

/// Adds the variables of `text`, those in their words too, evaluating nothing.
pub(super) fn variables(text: &str, found: &mut BTreeMap<String, TemplateVariable>) {
    let mut lister = Lister { found, depth: 0 };
    lister.list(text);
}

struct Lister<'f> {
    found: &'f mut BTreeMap<String, TemplateVariable>,
    depth: usize,
}

impl Lister<'_> {
    fn list(&mut self, text: &str) {
        if self.depth > MAX_NESTING {
            return;
        }
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            let after = &rest[dollar + 1..];
            if let Some(tail) = after.strip_prefix('$') {
                rest = tail;
                continue;
            }
            let (name, tail) = split_name(after.strip_prefix('{').unwrap_or(after));
            rest = tail;
            if name.is_empty() {
                continue;
            }
            let mut variable = TemplateVariable::default();
            if after.starts_with('{') && !tail.starts_with('}') {
                let line = tail.find('\n').map_or(tail, |end| &tail[..end]);
                let body = &after[1..after.len() - tail.len() + line.len()];
                let close = closing(body).or_else(|| body.rfind('}'));
                let Some(close) = close.filter(|close| *close > name.len()) else {
                    continue;
                };
                let word = &body[name.len()..close];
                rest = &after[close + 2..];
                let operator = word.trim_start_matches(':');
                let inner = operator.get(1..).unwrap_or_default();
                match operator.chars().next() {
                    Some('-') => inner.clone_into(&mut variable.default),
                    Some('+') => inner.clone_into(&mut variable.alternative),
                    Some('?') => variable.is_required = true,
                    _ => {}
                }
            }
            let words = format!("{}{}", variable.default, variable.alternative);
            self.found.insert(name.to_owned(), variable);
            self.depth += 1;
            self.list(&words);
            self.depth -= 1;
        }
    }
}

fn split_name(text: &str) -> (&str, &str) {
    let letter = |b: u8| b == b'_' || b.is_ascii_alphabetic();
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(|b| letter(*b)) {
        return ("", text);
    }
    let end = bytes
        .iter()
        .position(|b| !letter(*b) && !b.is_ascii_digit())
        .unwrap_or(bytes.len());
    text.split_at(end)
}

/// Where the brace before `body` closes: braces inside count, but not what stands right behind an
/// opening one, as docker compose has it.
fn closing(body: &str) -> Option<usize> {
    let mut open = 1usize;
    let bytes = body.as_bytes();
    // The first letter of the name.
    let mut index = 1;
    while index < bytes.len() {
        match bytes[index] {
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(index);
                }
            }
            b'{' => {
                open += 1;
                index += 1;
            }
            _ => {}
        }
        index += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<String>);

    impl Values for Fixed {
        fn value(&mut self, name: &str, _: Use<'_>) -> Option<String> {
            self.0.push(name.to_owned());
            match name {
                "A" => Some("a".to_owned()),
                "EMPTY" => Some(String::new()),
                "REF" => Some("${A} $A $$".to_owned()),
                _ => None,
            }
        }
    }

    fn run(text: &str) -> Result<String, TemplateError> {
        expand(text, &mut Fixed(Vec::new()), 1 << 16)
    }

    #[test]
    fn every_operator_does_what_docker_compose_does() {
        for (text, result) in [
            ("x$A-${A}y", "xa-ay"),
            ("$U|${U}", "|"),
            ("${U:-d}|${U-d}|${EMPTY:-d}|${EMPTY-d}", "d|d|d|"),
            ("${A:-d}|${A-d}", "a|a"),
            (
                "${A:+s}|${A+s}|${EMPTY:+s}|${EMPTY+s}|${U:+s}|${U+s}",
                "s|s||s||",
            ),
            ("${X:-${Y:-deep}}", "deep"),
            ("${X:-pre-${A}-post}", "pre-a-post"),
            ("$$A $${A} $$$A", "$A ${A} $a"),
            ("cost: 5$ or $5 $(id) $", "cost: 5$ or $5 $(id) $"),
            ("${X:-{\"k\": {}}}!", "{\"k\": {}}!"),
            ("${A:?no}${EMPTY?no}", "a"),
            ("${REF}", "${A} $A $$"),
            ("${X:-$(id)}", "$(id)"),
            ("${X:-a:-b}", "a:-b"),
        ] {
            assert_eq!(run(text).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn what_is_missing_or_malformed_is_said() {
        for text in ["${}", "${1}", "${A", "${A!}", "${A:=x}", "${", "${ A}"] {
            assert!(
                matches!(run(text), Err(TemplateError::Invalid(_))),
                "{text}"
            );
        }
        let required = run("${U:?set $A}").expect_err("required");
        assert_eq!(
            required.to_string(),
            "the variable U must have a value: set a"
        );
        assert!(run("${EMPTY:?}").is_err());
    }

    #[test]
    fn what_is_required_in_an_unused_branch_is_required() {
        let mut values = Fixed(Vec::new());
        expand("${A:-${B:?gone}}", &mut values, 99).expect_err("B is not set");
        assert_eq!(values.0, ["B"]);
    }

    #[test]
    fn braces_in_words_are_counted_as_docker_compose_counts_them() {
        assert!(run("${X:-{}} ${Y:-x}").is_err());
        assert_eq!(run("${X:-{}}").as_deref(), Ok("{}"));
        assert!(run("${X:-two\nlines}").is_err());
    }

    #[test]
    fn nesting_and_length_are_bounded() {
        let deep = "${X:-".repeat(50_000) + &"}".repeat(50_000);
        assert_eq!(run(&deep), Err(TemplateError::Nested));
        assert_eq!(run(&"$A".repeat(1 << 17)), Err(TemplateError::Long));
    }
}
