//! What `up` tells of its progress, in every form: as it was agreed on, word by word.

use crate::place::{Place, SHOP, ran};

/// Fields that differ from run to run, with what stands for them.
const VARYING: [(&str, &str); 2] = [("\"plan\":\"", "…"), ("\"elapsed_ms\":", "…")];

/// Standard output and standard error of an `up` that changes nothing, one thing at a time.
fn told(how: &str, variables: &[(&str, &str)]) -> (String, String) {
    let place = Place::with(SHOP);
    let words = ["--progress", how, "--dry-run", "up", "-d", "--wait"];
    let mut command = place.command(&words);
    command.env("COMPOSE_PARALLEL_LIMIT", "1");
    command.envs(variables.iter().copied());
    let ran = ran(&mut command);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    (ran.out, ran.err)
}

/// Each line with what differs from run to run cut out.
fn steady(text: &str) -> String {
    let line = |line: &str| {
        let mut line = line.to_owned();
        for (start, stands) in VARYING {
            if let Some(at) = line.find(start).map(|at| at + start.len()) {
                let rest = line[at..].find(['"', ',', '}']).unwrap_or(0);
                line.replace_range(at..at + rest, stands);
            }
        }
        let seconds = line.rfind(" (").filter(|_| line.ends_with("s)"));
        line.truncate(seconds.unwrap_or(line.len()));
        line + "\n"
    };
    text.lines().map(line).collect()
}

#[test]
fn a_change_is_told_in_lines_for_people() {
    let (out, err) = told("plain", &[]);
    assert_eq!(out, "");
    assert_eq!(steady(&err), include_str!("golden/up.txt"));
}

#[test]
fn a_change_is_told_in_objects_for_programs() {
    let (out, err) = told("json", &[]);
    assert_eq!(out, "");
    for line in err.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("an object");
    }
    assert_eq!(steady(&err), include_str!("golden/up.jsonl"));
}

#[test]
fn off_a_terminal_auto_is_plain_and_quiet_is_silent() {
    let (_, auto) = told("auto", &[]);
    assert_eq!(steady(&auto), include_str!("golden/up.txt"));
    assert_eq!(told("quiet", &[]), (String::new(), String::new()));
}

#[test]
fn progress_goes_to_standard_output_where_a_variable_says_so() {
    let (out, err) = told("plain", &[("COMPOSE_STATUS_STDOUT", "true")]);
    assert_eq!(err, "");
    assert_eq!(steady(&out), include_str!("golden/up.txt"));
    let (out, _) = told("plain", &[("COMPOSE_STATUS_STDOUT", "0")]);
    assert_eq!(out, "");
}

#[test]
fn colours_are_there_only_where_they_are_wanted() {
    let place = Place::with("services:\n  a:\n    imag: x\n");
    let coloured = |words: &[&str], variables: &[(&str, &str)]| {
        let words = [words, &["config", "-q"]].concat();
        let mut command = place.command(&words);
        command.envs(variables.iter().copied());
        ran(&mut command).err.contains('\u{1b}')
    };
    assert!(!coloured(&[], &[]), "off a terminal");
    assert!(coloured(&["--ansi", "always"], &[]));
    assert!(coloured(&[], &[("COMPOSE_ANSI", "always")]));
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&["--ansi", "always"], &[("NO_COLOR", "1")]));
    assert!(!coloured(&["--ansi", "never"], &[("CLICOLOR_FORCE", "1")]));
}
