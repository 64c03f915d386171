//! Examples: what the help and the manual page of every verb begin with.

use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Verbs, each followed by its examples: a command, and what it does.
const LIST: &str = include_str!("list.txt");

/// The examples of a verb, as they are printed; `path` is its words behind `unmoor`.
fn of(path: &str) -> Option<&'static str> {
    let mut blocks = LIST.split("\n\n");
    let found = blocks.find_map(|block| block.strip_prefix(path)?.strip_prefix('\n'));
    found.map(str::trim_end)
}

/// The command with examples at the begin of the help of all its verbs.
pub(crate) fn shown(command: Command) -> Command {
    command.mut_subcommands(|verb| beneath("", verb))
}

fn beneath(above: &str, verb: Command) -> Command {
    let path = format!("{above} {}", verb.get_name());
    let path = path.trim_start();
    let verb = match of(path) {
        Some(examples) => verb.before_help(format!("Examples:\n{examples}")),
        None => verb,
    };
    verb.mut_subcommands(|verb| beneath(path, verb))
}

/// Writes a manual page for the command and each of its verbs.
pub(crate) fn pages(command: Command, directory: &Path) -> io::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    page(&command, directory)
}

fn page(command: &Command, directory: &Path) -> io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        page(verb, directory)?;
    }
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    if let Some(examples) = command.get_before_help() {
        examples_section(&examples.to_string(), &mut text)?;
    }
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    if command.get_version().is_some() {
        man.render_version_section(&mut text)?;
    }
    std::fs::write(directory.join(man.get_filename()), text)
}

/// What the help begins with, line by line as it stands there.
fn examples_section(text: &str, to: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::default();
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in text.lines().skip(1) {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.to_writer(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    /// Every verb with its words, those that are not listed included.
    fn verbs(command: &Command, above: &str, to: &mut Vec<(String, Command)>) {
        for verb in command.get_subcommands() {
            let path = format!("{above} {}", verb.get_name());
            let path = path.trim_start().to_owned();
            verbs(verb, &path, to);
            to.push((path, verb.clone()));
        }
    }

    /// The words of a line that belong to one call of this program, as a shell splits them.
    fn words(line: &str) -> Vec<String> {
        let call = &line[line.find("unmoor ").expect("it calls this program")..];
        let (mut words, mut quoted, mut inside) = (vec![String::new()], None, false);
        for letter in call.chars() {
            match (quoted, letter) {
                (None, '>' | '|' | ')') => break,
                (None, ' ') if inside => {
                    words.push(String::new());
                    inside = false;
                }
                (None, ' ') => break,
                (None, '\'' | '"') => quoted = Some(letter),
                (Some(quote), letter) if letter == quote => quoted = None,
                (_, letter) => {
                    words.last_mut().expect("there is one").push(letter);
                    inside = true;
                }
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    /// The words of the verb that a call comes to.
    fn called(words: &[String]) -> String {
        let matches = args::command().try_get_matches_from(words);
        let matches = matches.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let (mut path, mut at) = (Vec::new(), &matches);
        while let Some((name, further)) = at.subcommand() {
            path.push(name.to_owned());
            at = further;
        }
        path.join(" ")
    }

    #[test]
    fn every_verb_begins_its_help_with_one_to_four_examples_that_are_understood() {
        let mut all = Vec::new();
        verbs(&args::command(), "", &mut all);
        assert!(all.len() > 50, "{}", all.len());
        for (path, mut verb) in all {
            let examples = of(&path).unwrap_or_else(|| panic!("`{path}` has no examples"));
            let help = verb.render_help().to_string();
            let start = format!("Examples:\n{examples}\n");
            assert!(help.starts_with(&start), "{path}: {help}");
            let lines: Vec<&str> = examples.lines().collect();
            assert!((1..=4).contains(&lines.len()), "{path}: {examples}");
            let calls: Vec<String> = lines.iter().map(|line| called(&words(line))).collect();
            // What is refused shows what to do instead.
            let about = verb.get_about().map(ToString::to_string);
            let refused = about.is_some_and(|about| about.starts_with("Refused"));
            let own = |call: &&String| **call == path || call.starts_with(&format!("{path} "));
            assert!(
                refused || calls.iter().any(|call| own(&call)),
                "{path}: {calls:?}"
            );
        }
    }

    #[test]
    fn examples_are_those_of_verbs() {
        let mut all = Vec::new();
        verbs(&args::command(), "", &mut all);
        for block in LIST.split("\n\n") {
            let path = block.lines().next().unwrap_or_default();
            assert!(
                all.iter().any(|(known, _)| known == path),
                "`{path}` is no verb"
            );
        }
        for line in LIST.lines() {
            assert!(line.len() <= 100, "too wide: {line}");
        }
    }
}
