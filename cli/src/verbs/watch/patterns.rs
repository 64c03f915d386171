//! Patterns of paths as in a `.dockerignore`: `*`, `?`, `[a-z]`, `**`, and `!` for exceptions.

use std::path::Path;

/// Patterns, of which the last that fits decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Patterns(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    except: bool,
    parts: Vec<Vec<char>>,
}

impl Patterns {
    /// Reads patterns, one a line; empty lines and those with `#` say nothing.
    pub(super) fn read<'t>(lines: impl IntoIterator<Item = &'t str>) -> Self {
        let lines = lines.into_iter().map(str::trim);
        let said = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(said.map(Pattern::read).collect())
    }

    /// True if there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if what a pattern fits may have exceptions inside.
    pub(super) fn has_exceptions(&self) -> bool {
        self.0.iter().any(|pattern| pattern.except)
    }

    /// True if the path, or a directory it lies in, fits.
    pub(super) fn fit(&self, path: &Path) -> bool {
        let parts: Vec<Vec<char>> = path
            .components()
            .map(|part| part.as_os_str().to_string_lossy().chars().collect())
            .collect();
        let last = self.0.iter().rev().find(|pattern| pattern.fits(&parts));
        last.is_some_and(|pattern| !pattern.except)
    }
}

impl Pattern {
    fn read(line: &str) -> Self {
        let (except, line) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, line),
        };
        let parts = line.split('/').filter(|part| !matches!(*part, "" | "."));
        Self {
            except,
            parts: parts.map(|part| part.chars().collect()).collect(),
        }
    }

    /// True if the whole pattern fits the path or what it lies in.
    fn fits(&self, path: &[Vec<char>]) -> bool {
        !self.parts.is_empty() && (1..=path.len()).any(|end| all(&self.parts, &path[..end]))
    }
}

/// True if parts of a pattern fit parts of a path, all of both.
fn all(pattern: &[Vec<char>], path: &[Vec<char>]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return path.is_empty();
    };
    if first[..] == ['*', '*'] {
        return (0..=path.len()).any(|skipped| all(rest, &path[skipped..]));
    }
    match path.split_first() {
        Some((name, further)) => one(first, name) && all(rest, further),
        None => false,
    }
}

/// True if one part of a pattern fits one name.
fn one(pattern: &[char], name: &[char]) -> bool {
    // Where to go on if what follows the last star does not fit: one more character is the star's.
    let mut star: Option<(usize, usize)> = None;
    let (mut at, mut seen) = (0, 0);
    while seen < name.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at + 1, seen));
            at += 1;
            continue;
        }
        match step(&pattern[at.min(pattern.len())..], name[seen]) {
            Some(length) => {
                at += length;
                seen += 1;
            }
            None => {
                let Some((after, begun)) = star else {
                    return false;
                };
                star = Some((after, begun + 1));
                (at, seen) = (after, begun + 1);
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// How much of a pattern fits one character, if it does.
fn step(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', literal, ..] => (*literal == c).then_some(2),
        ['[', rest @ ..] => class(rest, c),
        [literal, ..] => (*literal == c).then_some(1),
        [] => None,
    }
}

/// `a-z]` and `^a]` after a bracket; one that is never closed fits nothing.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let end = 1 + pattern.iter().skip(1).position(|c| *c == ']')?;
    let (negated, set) = match &pattern[..end] {
        ['^' | '!', set @ ..] => (true, set),
        set => (false, set),
    };
    let mut fits = false;
    let mut rest = set;
    while let Some((first, further)) = rest.split_first() {
        rest = match further {
            ['-', last, beyond @ ..] => {
                fits |= (*first..=*last).contains(&c);
                beyond
            }
            _ => {
                fits |= *first == c;
                further
            }
        };
    }
    // The bracket that opened it, the set, the bracket that closes it.
    (fits != negated).then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(patterns: &str, path: &str) -> bool {
        Patterns::read(patterns.lines()).fit(Path::new(path))
    }

    #[test]
    fn patterns_fit_paths_and_what_lies_in_them() {
        for (pattern, path) in [
            ("node_modules/", "node_modules/a/b.js"),
            ("/target", "target"),
            ("*.tmp", "x.tmp"),
            ("**/*.tmp", "x.tmp"),
            ("**/*.tmp", "a/b/x.tmp"),
            ("a/**/z", "a/z"),
            ("a/**/z", "a/b/c/z"),
            ("**", "anything/at/all"),
            ("file?", "file1"),
            ("[a-c]x", "bx"),
            ("[^a-c]x", "dx"),
            ("a\\*b", "a*b"),
            ("*a*b*c", "xxaxxbxxc"),
            ("# no\n\n  spaced  ", "spaced"),
        ] {
            assert!(fit(pattern, path), "{pattern:?} should fit {path:?}");
        }
        for (pattern, path) in [
            ("node_modules", "web/node_modules"),
            ("*.tmp", "a/x.tmp"),
            ("*.tmp", "x.tmpl"),
            ("a/**/z", "b/z"),
            ("file?", "file"),
            ("[a-c]x", "dx"),
            ("[ax", "ax"),
            ("a\\*b", "axb"),
            ("", "x"),
            ("*a*b*c", "xxaxxcxxb"),
        ] {
            assert!(!fit(pattern, path), "{pattern:?} should not fit {path:?}");
        }
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        let patterns = "docs\n!docs/keep\n*.md";
        assert!(fit(patterns, "docs/x"));
        assert!(!fit(patterns, "docs/keep/x"));
        assert!(fit(patterns, "README.md"));
        assert!(Patterns::read(patterns.lines()).has_exceptions());
    }
}
