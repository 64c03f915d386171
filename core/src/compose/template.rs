//! `$VAR`, `${VAR}` with its operators, and `$$`, in one text.
//!
//! One pass: what a variable brings in is not looked at again. Nesting and length are bounded.

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
        let (word, tail) = split_word(&rest[1..]).ok_or_else(invalid)?;
        let how = match operator {
            '-' => Use::Default(word),
            '?' => Use::Required,
            _ => Use::Alternative,
        };
        let value = self.values.value(name, how);
        let usable = value.filter(|value| !(or_empty && value.is_empty()));
        let text = match (operator, usable) {
            ('-' | '?', Some(value)) => value,
            ('-', None) | ('+', Some(_)) => self.expand(word, depth + 1)?,
            ('+', None) => String::new(),
            _ => {
                let message = self.expand(word, depth + 1)?;
                let name = name.to_owned();
                return Err(TemplateError::Required { name, message });
            }
        };
        Ok((text, tail))
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

/// Splits at the `}` that closes; braces inside count, so that a default may hold JSON.
fn split_word(text: &str) -> Option<(&str, &str)> {
    let mut open = 1usize;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => continue,
        }
        if open == 0 {
            return Some((&text[..index], &text[index + 1..]));
        }
    }
    // An opening brace of its own, as in `${A:-{}`: the last one closes.
    let last = text.rfind('}')?;
    Some((&text[..last], &text[last + 1..]))
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
    fn unused_branches_ask_for_nothing() {
        let mut values = Fixed(Vec::new());
        expand("${A:-${B:?gone}}", &mut values, 99).expect("A is set");
        assert_eq!(values.0, ["A"]);
    }

    #[test]
    fn nesting_and_length_are_bounded() {
        let deep = "${X:-".repeat(50_000) + &"}".repeat(50_000);
        assert_eq!(run(&deep), Err(TemplateError::Nested));
        assert_eq!(run(&"$A".repeat(1 << 17)), Err(TemplateError::Long));
    }
}
