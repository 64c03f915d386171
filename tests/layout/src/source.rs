//! Rust sources without their comments and literals: functions, test modules, words.

use std::ops::Range;

/// A source file, with everything that is not code blanked out.
#[derive(Debug, Clone)]
pub struct Source {
    code: String,
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line its body opens in, from one.
    pub line: usize,
    /// Lines of code in its body, without blank ones and comments.
    pub length: usize,
}

impl Source {
    /// Reads a file's text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { code: blank(text) }
    }

    /// The code; comments and literals are spaces, lines are where they were.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The number of the line that a byte lies in, from one.
    #[must_use]
    pub fn line_of(&self, place: usize) -> usize {
        self.code[..place].matches('\n').count() + 1
    }

    /// Where a word stands on its own.
    #[must_use]
    pub fn find_word(&self, word: &str) -> Vec<usize> {
        let part = |char: char| char.is_alphanumeric() || char == '_';
        let alone = |(place, _): &(usize, &str)| {
            let before = self.code[..*place].chars().next_back();
            let after = self.code[place + word.len()..].chars().next();
            !before.is_some_and(part) && !after.is_some_and(part)
        };
        self.code
            .match_indices(word)
            .filter(alone)
            .map(|(place, _)| place)
            .collect()
    }

    /// The inline modules that only tests compile.
    #[must_use]
    pub fn test_modules(&self) -> Vec<Range<usize>> {
        let attribute = "#[cfg(test)]";
        self.code
            .match_indices(attribute)
            .filter_map(|(place, _)| {
                let rest = &self.code[place + attribute.len()..];
                let open = rest.find(['{', ';'])?;
                let is_module = rest[..open].split_whitespace().any(|word| word == "mod");
                let open = place + attribute.len() + open;
                (is_module && self.code[open..].starts_with('{'))
                    .then(|| place..self.matching_brace(open))
            })
            .collect()
    }

    /// Functions with a body, tests included.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        self.find_word("fn")
            .into_iter()
            .filter_map(|place| self.function(place))
            .collect()
    }

    fn function(&self, place: usize) -> Option<Function> {
        let rest = &self.code[place + 2..];
        let name: String = rest
            .trim_start()
            .chars()
            .take_while(|char| char.is_alphanumeric() || *char == '_')
            .collect();
        // `fn(i32)` is a type, and a signature that ends with a semicolon has no body.
        let open = place + 2 + body_start(rest)?;
        if name.is_empty() {
            return None;
        }
        let body = &self.code[open + 1..self.matching_brace(open)];
        let length = body.lines().filter(|line| !line.trim().is_empty()).count();
        Some(Function {
            name,
            line: self.line_of(open),
            length,
        })
    }

    fn matching_brace(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (offset, char) in self.code[open..].char_indices() {
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return open + offset;
            }
        }
        self.code.len()
    }
}

/// The first brace outside parentheses and brackets; a semicolon there means no body.
fn body_start(signature: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (place, char) in signature.char_indices() {
        match char {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(place),
            ';' | '}' | ',' | '=' if depth <= 0 && !in_where_clause(&signature[..place], char) => {
                return None;
            }
            _ if depth < 0 => return None,
            _ => {}
        }
    }
    None
}

/// `where T: Iterator<Item = X>, U: Y {` holds commas and signs of equality before the body.
fn in_where_clause(before: &str, char: char) -> bool {
    matches!(char, ',' | '=') && (before.contains("where") || before.contains('<'))
}

/// Replaces comments and literals by spaces of the same length.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut place = 0;
    while place < bytes.len() {
        let end = literal_end(bytes, place);
        if end > place {
            let spaces = bytes[place..end]
                .iter()
                .map(|byte| if *byte == b'\n' { b'\n' } else { b' ' });
            code.extend(spaces);
            place = end;
        } else {
            // Names in other scripts are blanked too: what remains is for structure.
            code.push(if bytes[place].is_ascii() {
                bytes[place]
            } else {
                b' '
            });
            place += 1;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Where the comment or literal that starts here ends; the same place when none does.
fn literal_end(bytes: &[u8], start: usize) -> usize {
    let rest = &bytes[start..];
    if rest.starts_with(b"//") {
        return start
            + rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return start + comment_len(rest);
    }
    let before = start
        .checked_sub(1)
        .and_then(|place| bytes.get(place))
        .copied()
        .unwrap_or(b' ');
    let in_word = before.is_ascii_alphanumeric() || before == b'_';
    let prefix = rest
        .iter()
        .take(2)
        .take_while(|byte| b"bcr".contains(byte))
        .count();
    let raw = !in_word && rest[..prefix].contains(&b'r');
    let hashes = rest[prefix..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    match rest.get(prefix + hashes) {
        Some(b'"') if raw => start + raw_len(rest, prefix + hashes + 1, hashes),
        Some(b'"') if hashes == 0 && (prefix == 0 || !in_word) => {
            start + quoted_len(rest, prefix + 1, b'"')
        }
        Some(b'\'') if hashes == 0 && (prefix == 0 || (!in_word && rest[..prefix] == *b"b")) => {
            start + char_len(rest, prefix)
        }
        _ => start,
    }
}

fn comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut place) = (0_usize, 0);
    while place < rest.len() {
        if rest[place..].starts_with(b"/*") {
            (depth, place) = (depth + 1, place + 2);
        } else if rest[place..].starts_with(b"*/") {
            (depth, place) = (depth - 1, place + 2);
            if depth == 0 {
                break;
            }
        } else {
            place += 1;
        }
    }
    place
}

fn raw_len(rest: &[u8], content: usize, hashes: usize) -> usize {
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let close = rest[content..]
        .windows(end.len())
        .position(|window| window == end);
    close.map_or(rest.len(), |close| content + close + end.len())
}

fn quoted_len(rest: &[u8], mut place: usize, quote: u8) -> usize {
    while let Some(byte) = rest.get(place) {
        match *byte {
            b'\\' => place += 2,
            byte if byte == quote => return place + 1,
            _ => place += 1,
        }
    }
    rest.len()
}

/// A character has a closing quote near; a lifetime has none.
fn char_len(rest: &[u8], prefix: usize) -> usize {
    let inner = &rest[prefix + 1..];
    let first = inner.first().copied().unwrap_or(0);
    if first == b'\\' {
        return quoted_len(rest, prefix + 1, b'\'');
    }
    let width = match first {
        0x00..=0x7F => 1,
        0x80..=0xDF => 2,
        0xE0..=0xEF => 3,
        _ => 4,
    };
    if inner.get(width) == Some(&b'\'') {
        prefix + 1 + width + 1
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text =
            "a // unsafe\n/* fn { /* } */ */ b \"fn \\\" {\" r#\"} \" {\"# '{' b'}' '\\'' c<'a>";
        let source = Source::parse(text);
        assert_eq!(source.code().len(), text.len());
        for word in ["unsafe", "fn", "{", "}"] {
            assert!(!source.code().contains(word), "{word} in {}", source.code());
        }
        assert!(source.code().contains("c<'a>"), "{}", source.code());
    }

    #[test]
    fn functions_are_measured_without_blank_lines() {
        let text = "trait T { fn none(&self); }\nfn a(f: fn(u8) -> [u8; 2]) -> u8\nwhere\n    T: I<X = u8>,\n{\n\n    // why\n    1\n}\n";
        let functions = Source::parse(text).functions();
        let found = [Function {
            name: "a".to_owned(),
            line: 5,
            length: 1,
        }];
        assert_eq!(functions, found);
    }

    #[test]
    fn words_stand_alone() {
        let source = Source::parse("unsafe_op unsafe { } not_unsafe");
        assert_eq!(source.find_word("unsafe"), [10]);
    }

    #[test]
    fn test_modules_are_found_and_files_of_their_own_are_not() {
        let source =
            Source::parse("#[cfg(test)]\nmod tests { fn a() { } }\n#[cfg(test)]\nmod more;\n");
        let modules = source.test_modules();
        assert_eq!(modules.len(), 1);
        assert_eq!(source.line_of(modules[0].end), 2);
    }
}
