//! What the command line takes, refuses and answers without a backend's doing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::place::{Place, SHOP, ran};

const VERBS: [&str; 50] = [
    "drift",
    "apply",
    "build",
    "up",
    "down",
    "ps",
    "logs",
    "exec",
    "run",
    "config",
    "plan",
    "endpoints",
    "inspect",
    "scale",
    "start",
    "stop",
    "restart",
    "rm",
    "ls",
    "link",
    "unlink",
    "image",
    "backends",
    "capabilities",
    "version",
    "kill",
    "pause",
    "unpause",
    "create",
    "update",
    "pull",
    "push",
    "cp",
    "attach",
    "wait",
    "watch",
    "rollback",
    "rollout",
    "events",
    "top",
    "stats",
    "port",
    "images",
    "volumes",
    "check",
    "context",
    "system",
    "completion",
    "man",
    "conformance",
];

#[test]
fn help_goes_to_standard_output_and_begins_with_examples() {
    let place = Place::new();
    for words in [["--help"], ["-h"]] {
        let help = place.run(&words);
        assert_eq!(help.code, Some(0));
        assert!(help.out.starts_with("Examples:\n"), "{}", help.out);
        assert!(help.out.contains("Exit codes:"), "{}", help.out);
        assert_eq!(help.err, "");
    }
    for verb in VERBS {
        let help = place.run(&[verb, "--help"]);
        assert_eq!(help.code, Some(0), "{verb}");
        assert!(help.out.starts_with("Examples:\n"), "{verb}: {}", help.out);
        assert!(help.out.contains("Usage: unmoor"), "{verb}: {}", help.out);
        assert!(
            !help.out.contains('\u{1b}'),
            "{verb} has escape sequences off a terminal"
        );
    }
}

#[test]
fn help_is_a_verb_as_well() {
    let place = Place::with(SHOP);
    assert_eq!(place.run(&["help"]).out, place.run(&["--help"]).out);
    let verb = place.run(&["help", "ps"]);
    assert_eq!(
        (verb.code, verb.out),
        (Some(0), place.run(&["ps", "--help"]).out)
    );
    let nested = place.run(&["help", "image", "rm"]);
    assert!(
        nested.out.contains("Usage: unmoor image rm"),
        "{}",
        nested.out
    );
    assert_eq!(place.run(&["help", "nothing"]).code, Some(64));
    let former = place.run(&["convert", "--services"]);
    assert_eq!(former.out, "api\nweb\n", "{}", former.err);
}

#[test]
fn what_docker_compose_takes_is_understood() {
    let place = Place::with(SHOP);
    for words in [
        &["stop", "-t", "-1"][..],
        &["restart", "--no-deps", "-t", "5"],
        &["kill", "--remove-orphans"],
        &["down", "-t", "0", "--rmi", "local"],
        &["pull", "--ignore-buildable", "--dry-run"],
        &["push", "--ignore-push-failures", "--dry-run"],
        &["stats", "-a", "--no-stream"],
        &["up", "-d", "--dry-run", "--no-build", "--quiet-build"],
        &["build", "--pull", "--no-cache", "--build-arg", "A=b", "web"],
        &["ls", "--filter", "name=shop"],
        &["--workdir", ".", "ps"],
    ] {
        let ran = place.run(words);
        assert_ne!(ran.code, Some(64), "{words:?}: {}", ran.err);
        assert!(
            !ran.err.contains("unexpected argument"),
            "{words:?}: {}",
            ran.err
        );
    }
    for words in [&["stop", "-t", "-2"][..], &["ls", "--filter", "status=x"]] {
        assert_eq!(place.run(words).code, Some(64), "{words:?}");
    }
}

#[test]
fn no_verb_is_wrong_use_and_shows_help_on_standard_error() {
    let ran = Place::new().run(&[]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(64), ""));
    assert!(ran.err.contains("Usage:"), "{}", ran.err);
}

#[test]
fn wrong_use_is_code_64_and_says_what_is_meant() {
    let place = Place::with(SHOP);
    for (words, said) in [
        (vec!["upp"], "up"),
        (vec!["up", "--detatch"], "--detach"),
        (
            vec!["up", "--force-recreate", "--no-recreate"],
            "cannot be used with",
        ),
        (vec!["scale", "web"], "SERVICE=N"),
        (vec!["scale", "web=many"], "not a number"),
        (vec!["up", "-rf"], "unexpected"),
        (vec!["ps", "a/b"], "not a service name"),
        (vec!["logs", "-n", "some"], "use a number or `all`"),
        (
            vec!["logs", "--since", "yesterday"],
            "neither a time nor a duration",
        ),
        (vec!["exec", "web"], "required"),
        (vec!["image", "rm", "UPPER"], "UPPER"),
        (vec!["--progress", "loud", "ps"], "possible values"),
    ] {
        let ran = place.run(&words);
        assert_eq!(ran.code, Some(64), "{words:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{words:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{words:?}");
    }
}

#[test]
fn wrong_use_is_an_event_where_events_are_asked_for() {
    let place = Place::with(SHOP);
    let event = |words: &[&str]| {
        let ran = place.run(words);
        assert_eq!((ran.code, ran.out.as_str()), (Some(64), ""), "{words:?}");
        let mut lines = ran.err.lines();
        let event = lines.next().expect("a line");
        assert_eq!(lines.next(), None, "{words:?}: {}", ran.err);
        let event: serde_json::Value = serde_json::from_str(event).expect("JSON");
        assert_eq!(event["event"], "error", "{event}");
        assert_eq!(
            (&event["kind"], &event["exit_code"]),
            (&"usage".into(), &64.into())
        );
        event
    };
    let typo = event(&["--progress", "json", "up", "--detatch"]);
    assert_eq!(typo["message"], "unexpected argument '--detatch' found");
    let hint = typo["hint"].as_str().expect("a tip");
    assert!(hint.contains("--detach"), "{hint}");
    let lacking = event(&["--progress=json", "exec", "web"]);
    assert!(
        lacking["message"]
            .as_str()
            .is_some_and(|text| text.contains("<COMMAND>"))
    );
    let ours = event(&["update", "web", "--progress", "json"]);
    assert_eq!(
        ours["message"],
        "say what changes: --image, --replicas or --env"
    );
    let mut command = place.command(&["upp"]);
    let by_variable = ran(command.env("COMPOSE_PROGRESS", "json"));
    assert!(by_variable.err.starts_with("{\""), "{}", by_variable.err);
}

#[test]
fn a_context_is_made_of_the_backend_that_is_named() {
    let place = Place::new();
    let made = place.run(&["context", "create", "lab", "--backend", "sim:?name=lab"]);
    assert_eq!(
        (made.code, made.out.as_str()),
        (Some(0), "lab\n"),
        "{}",
        made.err
    );
    let list = place.run(&["context", "ls", "--format", "{{.Name}} {{.Backend}}"]);
    assert_eq!(list.out, "default * local:\nlab sim:?name=lab\n");
    for (words, said) in [
        (&["context", "create", "x"][..], "say where it leads"),
        (
            &["context", "create", "x", "sim:", "-b", "sim:"],
            "name it once",
        ),
        (
            &["context", "create", "x", "-b", "no uri"],
            "is not a backend URI",
        ),
    ] {
        let ran = place.run(words);
        assert_eq!(ran.code, Some(64), "{words:?}");
        assert!(ran.err.contains(said), "{words:?}: {}", ran.err);
    }
}

#[test]
fn events_end_when_they_are_to() {
    let place = Place::with(SHOP);
    let past = place.run(&["events", "--until", "2020-01-31"]);
    assert_eq!(
        (past.code, past.out.as_str()),
        (Some(0), ""),
        "{}",
        past.err
    );
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    let soon = soon
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let soon = (soon.as_secs() + 1).to_string();
    let later = place.run(&["events", "--until", &soon]);
    assert_eq!(later.code, Some(0), "{}", later.err);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    assert!(now.is_ok_and(|now| now.as_secs() >= soon.parse().expect("a number")));
    assert_eq!(place.run(&["events", "--until", "later"]).code, Some(64));
}

#[test]
fn names_in_capitals_are_told_what_is_wrong_with_them() {
    let place = Place::with(SHOP);
    let ran = place.run(&["-p", "Foo", "ps"]);
    assert_eq!(ran.code, Some(1));
    let said = "`Foo` is not a stack name: it must start with a lower-case letter or digit";
    assert!(ran.err.contains(said), "{}", ran.err);
}

#[test]
fn words_that_are_no_text_are_refused() {
    let place = Place::with(SHOP);
    let mut command = place.command(&["ps"]);
    let ran = ran(command.arg(OsStr::from_bytes(b"a\xff\x1b[2Jb")));
    assert_eq!(ran.code, Some(64), "{}", ran.err);
    assert!(!ran.err.contains('\u{1b}'), "{:?}", ran.err);
}

#[test]
fn a_hundred_thousand_words_are_survived() {
    let place = Place::with(SHOP);
    let words: Vec<String> = (0..100_000).map(|n| format!("s{n}")).collect();
    let mut command = place.command(&["ps"]);
    let ran = ran(command.args(&words));
    assert_eq!(ran.code, Some(1), "{}", ran.err.len());
    assert!(ran.err.contains("no service `s0`"));
}

#[test]
fn what_follows_a_double_dash_belongs_to_the_command() {
    let place = Place::with(SHOP);
    // Nothing of it is there, which is said after the words were understood.
    for words in [
        vec!["exec", "-T", "web", "ls", "-la", "--color"],
        vec!["exec", "-T", "web", "--", "ls", "-la"],
    ] {
        let ran = place.run(&words);
        assert_eq!(ran.code, Some(125), "{words:?}: {}", ran.err);
        assert!(
            ran.err.contains("service `web` has no replica"),
            "{words:?}: {}",
            ran.err
        );
    }
}

#[test]
fn the_version_is_data() {
    let place = Place::new();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(place.run(&["version"]).out, format!("unmoor {version}\n"));
    assert_eq!(place.run(&["--version"]).out, format!("unmoor {version}\n"));
    assert_eq!(
        place.run(&["version", "--short"]).out,
        format!("{version}\n")
    );
    let json: serde_json::Value =
        serde_json::from_str(&place.run(&["version", "--format", "json"]).out).expect("JSON");
    assert_eq!(json["version"], version);
    assert!(
        json["backends"]
            .as_array()
            .is_some_and(|list| list.contains(&"sim".into())),
        "{json}"
    );
}

#[test]
fn backends_are_listed_and_unknown_ones_refused_with_the_list() {
    let place = Place::with(SHOP);
    assert!(place.run(&["backends"]).out.contains("sim:"));
    let unknown = place.run(&["-b", "nowhere:", "ps"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.err.contains("there is no backend for `nowhere:`"),
        "{}",
        unknown.err
    );
    assert!(
        unknown.err.contains("hint: this build has:"),
        "{}",
        unknown.err
    );
    let malformed = place.run(&["-b", "no uri", "ps"]);
    assert_eq!(malformed.code, Some(1));
    assert!(
        malformed.err.contains("is not a backend URI"),
        "{}",
        malformed.err
    );
}

#[test]
fn capabilities_name_every_feature_with_who_acts() {
    let place = Place::new();
    let table = place.run(&["capabilities"]);
    assert_eq!(table.code, Some(0), "{}", table.err);
    assert!(table.out.starts_with("FEATURE"), "{}", table.out);
    let json = place.run(&["backends", "capabilities", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    let features = json["features"].as_array().expect("a list");
    assert_eq!(features.len() + 1, table.out.lines().count());
    for feature in features {
        assert!(
            feature["summary"]
                .as_str()
                .is_some_and(|text| text.ends_with('.')),
            "{feature}"
        );
        let available = feature["support"] != "no";
        assert_eq!(available, !feature["by"].is_null(), "{feature}");
    }
}

#[cfg(feature = "conformance")]
#[test]
fn conformance_reports_go_where_they_are_asked_for() {
    let place = Place::new();
    let run = |reports: &[&str]| {
        let mut words = vec!["conformance", "sim:", "--filter", "exec_user"];
        words.extend(reports.iter().flat_map(|report| ["--report", report]));
        place.run(&words)
    };
    let ran = run(&["json", "junit=a.junit", "html=a.page"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let json: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON and nothing else");
    assert_eq!(json["cases"][0]["name"], "exec_user");
    assert!(
        ran.err.contains("pass  exec/exec_user") && ran.err.contains("1 passed"),
        "{}",
        ran.err
    );
    for (file, start) in [("a.junit", "<?xml "), ("a.page", "<!DOCTYPE html>")] {
        let text = std::fs::read_to_string(place.path().join(file)).expect("it was written");
        assert!(text.starts_with(start), "{file}: {text}");
    }
    for wrong in [
        &["yaml"][..],
        &["junit="],
        &["json", "html"],
        &["html=nowhere/a.html"],
        &["html=."],
    ] {
        let ran = run(wrong);
        assert_eq!(ran.code, Some(64), "{wrong:?}: {}{}", ran.out, ran.err);
        assert!(
            !ran.err.contains("pass "),
            "found out too late: {}",
            ran.err
        );
    }
}

#[cfg(feature = "conformance")]
#[test]
fn conformance_lists_runs_and_reports() {
    let place = Place::new();
    let list = place.run(&["conformance", "--list", "--filter", "exec_user"]);
    assert_eq!(list.out.lines().count(), 2, "{}", list.out);
    let words = [
        "conformance",
        "sim:",
        "--filter",
        "exec_user",
        "--report",
        "r.xml",
        "--matrix",
        ".",
    ];
    let ran = place.run(&words);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let closing = "unmoor-conformance: 1 passed, 0 failed, 0 skipped\n";
    assert!(
        ran.out.starts_with("pass ") && ran.out.ends_with(closing),
        "{}",
        ran.out
    );
    for (file, part) in [
        ("r.xml", "<testcase"),
        ("matrix.json", "exec_user"),
        ("matrix.md", "exec_user"),
    ] {
        let text = std::fs::read_to_string(place.path().join(file)).expect("it was written");
        assert!(text.contains(part), "{file}: {text}");
    }
    let broken = place.run(&[
        "conformance",
        "sim:?bug=exec-user-ignored",
        "--filter",
        "exec_user",
    ]);
    assert_eq!(broken.code, Some(1), "{}", broken.out);
    let none = place.run(&["conformance", "sim:", "--filter", "no_such_case"]);
    assert_eq!(
        none.code,
        Some(1),
        "nothing tried is a failure: {}",
        none.out
    );
}
