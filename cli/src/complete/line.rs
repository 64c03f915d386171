//! The line that is being completed: the options before the verb, as far as they stand there.

use std::path::PathBuf;

use crate::args::Globals;

/// Options with a value that may stand before the verb, by their long names.
const SHORT: [(char, &str); 4] = [
    ('b', "backend"),
    ('c', "context"),
    ('f', "file"),
    ('p', "project-name"),
];
/// Those that change nothing of what is completed.
const ELSE: [&str; 3] = ["progress", "parallel", "ansi"];

/// The options of the line that a shell has handed over behind `--`.
pub(super) fn globals() -> Globals {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    // Behind the two hyphens stands the name of the program.
    read(words.skip_while(|word| word != "--").skip(2))
}

fn read(mut words: impl Iterator<Item = String>) -> Globals {
    let mut globals = Globals::none();
    let mut before_the_verb = true;
    while let Some(word) = words.next() {
        let Some((name, attached)) = option(&word) else {
            before_the_verb &= word.starts_with('-');
            continue;
        };
        // Behind the verb, the other letters are the verb's own.
        if !before_the_verb && name != "backend" {
            continue;
        }
        let Some(value) = attached.or_else(|| words.next()) else {
            break;
        };
        set(&mut globals, &name, value);
    }
    globals
}

/// An option that takes a value, by its long name, with the value that is attached to it.
fn option(word: &str) -> Option<(String, Option<String>)> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        let long = ["project-directory", "workdir", "env-file", "profile"];
        let mut known = SHORT.iter().map(|(_, name)| *name).chain(long).chain(ELSE);
        return known
            .any(|known| known == name)
            .then(|| (name.to_owned(), value));
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let first = letters.next()?;
    let (_, name) = SHORT.iter().find(|(letter, _)| *letter == first)?;
    let rest = letters.as_str();
    let value = (!rest.is_empty()).then(|| rest.trim_start_matches('=').to_owned());
    Some(((*name).to_owned(), value))
}

fn set(globals: &mut Globals, name: &str, value: String) {
    match name {
        "backend" => globals.backends = vec![value],
        "context" => globals.context = Some(value),
        "file" => globals.files.push(path(&value)),
        "project-name" => globals.project_name = Some(value),
        "project-directory" | "workdir" => globals.project_directory = Some(path(&value)),
        "env-file" => globals.env_files.push(path(&value)),
        "profile" => globals.profiles.push(value),
        _ => {}
    }
}

/// A path as the shell would hand it over: words that are completed are as they were typed.
fn path(text: &str) -> PathBuf {
    let below = text.strip_prefix("~/").zip(std::env::home_dir());
    below.map_or_else(|| PathBuf::from(text), |(rest, home)| home.join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Globals {
        read(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn options_count_before_the_verb_and_the_backend_also_behind_it() {
        let said = of("-p shop --file=a.yaml -fb.yaml --profile debug logs -f web -b sim:");
        assert_eq!(said.project_name.as_deref(), Some("shop"));
        assert_eq!(said.files, [PathBuf::from("a.yaml"), "b.yaml".into()]);
        assert_eq!(said.profiles, ["debug"]);
        assert_eq!(said.backends, ["sim:"]);
        let run = of("--dry-run run -p 80:80 -f x web");
        assert_eq!((run.project_name, run.files.len()), (None, 0));
        assert!(of("-v --progress json -c lab up").context.is_some());
        assert!(of("-p").project_name.is_none());
    }
}
