//! Changes of a text that knows lines, indentation, keys and values, so that what comes of it gets
//! past the parser more often than not.

use crate::input::{Input, LARGEST};
use crate::random::Random;

/// What to put in.
#[derive(Debug)]
pub(crate) struct Words {
    /// Keys, each with values that may stand there.
    pub(crate) keys: Vec<(&'static str, Vec<&'static str>)>,
    /// Pieces of the syntax.
    pub(crate) pieces: &'static [&'static str],
    pub(crate) flags: &'static [&'static str],
}

impl Words {
    /// A value, of `key` if it is known.
    fn value(&self, key: &str, random: &mut Random) -> &'static str {
        let known = self.keys.iter().find(|(known, _)| *known == key);
        let row = match known {
            Some(row) if random.chance(70) => row,
            _ => random.pick(&self.keys),
        };
        if row.1.is_empty() {
            return "";
        }
        random.pick::<&'static str>(&row.1)
    }
}

/// Changes `input` in one to eight ways; `other` lends parts.
pub(crate) fn mutate(input: &mut Input, other: &Input, words: &Words, random: &mut Random) {
    for _ in 0..random.small(8) {
        if random.chance(5) {
            let flag = (*random.pick(words.flags)).to_owned();
            if !input.flags.remove(&flag) {
                input.flags.insert(flag);
            }
            continue;
        }
        let names: Vec<String> = input.files.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        // The description is worth more attention than what stands beside it.
        let main = names.iter().find(|name| name.starts_with("compose"));
        let name = match main {
            Some(main) if random.chance(70) => main.clone(),
            _ => random.pick(&names).clone(),
        };
        let lent = other.files.get(&name).map_or("", String::as_str);
        let text = input.files.get(&name).map_or("", String::as_str);
        let changed = change(text, lent, words, random);
        input.files.insert(name, changed);
    }
    input.bound();
}

fn change(text: &str, lent: &str, words: &Words, random: &mut Random) -> String {
    if text.is_empty() {
        return lent.to_owned();
    }
    if random.chance(30) {
        return characters(text, words, random);
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = random.below(lines.len());
    match random.below(9) {
        0 | 1 => set_value(&mut lines[at], words, random),
        2 => {
            let key = random.pick(&words.keys).0;
            let indent = indentation(&lines[at]);
            let line = format!("{}{key}: {}", " ".repeat(indent), words.value(key, random));
            lines.insert(at, line);
        }
        3 => drop(lines.drain(block(&lines, at))),
        4 => {
            let copy = lines[block(&lines, at)].to_vec();
            let to = random.below(lines.len() + 1);
            lines.splice(to..to, copy);
        }
        5 => borrow(&mut lines, at, lent, random),
        6 => wrap(&mut lines[at], random),
        7 => share(&mut lines, at, random),
        _ => {
            let to = random.below(lines.len());
            lines.swap(at, to);
        }
    }
    lines.join("\n") + "\n"
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// A line and those that are deeper than it.
fn block(lines: &[String], at: usize) -> std::ops::Range<usize> {
    let depth = indentation(&lines[at]);
    let more = lines[at + 1..].iter();
    let length = more.take_while(|line| indentation(line) > depth).count();
    at..at + 1 + length
}

/// Where the value of a line begins, and its key.
fn value_of(line: &str) -> Option<(usize, &str)> {
    let end = line.find(": ").map(|at| at + 2);
    let end = end.or_else(|| line.ends_with(':').then_some(line.len()))?;
    let key = line[..end].trim_end_matches([' ', ':']).trim_start();
    Some((end, key.trim_start_matches("- ")))
}

fn set_value(line: &mut String, words: &Words, random: &mut Random) {
    let found = value_of(line).map(|(end, key)| (end, words.value(key, random)));
    let (end, value) = match found {
        Some(found) => found,
        None => {
            let end = line.find("- ").map_or(0, |at| at + 2);
            (end, words.value("", random))
        }
    };
    line.truncate(end);
    if line.ends_with(':') {
        line.push(' ');
    }
    line.push_str(value);
}

/// Puts a block of another text here, as deep as what it stands before.
fn borrow(lines: &mut Vec<String>, at: usize, lent: &str, random: &mut Random) {
    let theirs: Vec<String> = lent.lines().map(str::to_owned).collect();
    if theirs.is_empty() {
        return;
    }
    let block = block(&theirs, random.below(theirs.len()));
    let (from, to) = (indentation(&theirs[block.start]), indentation(&lines[at]));
    let moved = theirs[block].iter().map(|line| {
        let depth = indentation(line).saturating_sub(from) + to;
        format!("{}{}", " ".repeat(depth), line.trim_start_matches(' '))
    });
    let moved: Vec<String> = moved.collect();
    lines.splice(at..at, moved);
}

/// Puts the value of a line into a variable, or behind a tag.
fn wrap(line: &mut String, random: &mut Random) {
    const AROUND: [(&str, &str); 14] = [
        ("${X:-", "}"),
        ("${X-", "}"),
        ("${A:+", "}"),
        ("${A+", "}"),
        ("${A:?", "}"),
        ("${", "}"),
        ("$", ""),
        ("$$", ""),
        ("\"${X:-", "}\""),
        ("!reset ", ""),
        ("!override ", ""),
        ("!!str ", ""),
        ("[", "]"),
        ("{a: ", "}"),
    ];
    let start = value_of(line).map_or_else(|| line.find("- ").map_or(0, |at| at + 2), |v| v.0);
    let value = line.split_off(start);
    let (open, close) = *random.pick(&AROUND);
    if line.ends_with(':') {
        line.push(' ');
    }
    line.push_str(open);
    line.push_str(&value);
    line.push_str(close);
}

/// Names the value of one line and puts the name elsewhere.
fn share(lines: &mut Vec<String>, at: usize, random: &mut Random) {
    let Some((start, _)) = value_of(&lines[at]) else {
        return;
    };
    let name = match start == lines[at].len() {
        true => " &n",
        false => "&n ",
    };
    lines[at].insert_str(start, name);
    let to = random.below(lines.len());
    if random.chance(50) {
        let line = format!("{}<<: *n", " ".repeat(indentation(&lines[to])));
        lines.insert(to, line);
    } else if let Some((start, _)) = value_of(&lines[to])
        && to != at
    {
        lines[to].truncate(start);
        lines[to].push_str(" *n");
    }
}

fn characters(text: &str, words: &Words, random: &mut Random) -> String {
    let mut found: Vec<char> = text.chars().collect();
    let at = random.below(found.len());
    let end = (at + random.small(40)).min(found.len());
    match random.below(6) {
        0 | 1 => {
            let piece = random.pick(words.pieces);
            found.splice(at..at, piece.chars());
        }
        2 => drop(found.drain(at..end)),
        3 => {
            let copy = found[at..end].to_vec();
            // Deep and long, now and then.
            let most = if random.chance(10) { LARGEST } else { 64 };
            let times = random.small(most / copy.len().max(1));
            found.splice(at..at, copy.repeat(times));
        }
        4 => {
            let to = random.below(found.len());
            found.swap(at, to);
        }
        _ => {
            let code = u32::try_from(random.below(0x11_0000)).unwrap_or_default();
            let code = if random.chance(70) { code % 128 } else { code };
            found[at] = char::from_u32(code).unwrap_or('\u{fffd}');
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &[&str] = &["[", "${"];

    #[test]
    fn the_same_seed_changes_the_same_and_no_change_is_too_large() {
        let words = Words {
            keys: vec![("image", vec!["x", "[1]"]), ("ports", vec!["[80]"])],
            pieces: WORDS,
            flags: &["strict"],
        };
        let start = Input::parse("%% file compose.yaml\nservices:\n  a:\n    image: b\n");
        let run = |seed| {
            let (mut random, mut input) = (Random::new(seed), start.clone());
            for _ in 0..200 {
                let other = input.clone();
                mutate(&mut input, &other, &words, &mut random);
                assert!(input.to_text().len() < LARGEST + 100);
            }
            input.to_text()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
