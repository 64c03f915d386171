//! Listings in every form, contexts, completion, and what backends can do of a file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::place::{Place, SHOP, ran};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn keys(value: &Value) -> BTreeSet<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

#[test]
fn templates_fill_in_fields_and_say_what_they_do_not_know() {
    let place = Place::new();
    let lines = place.run(&["backends", "--format", "{{.URI}}|{{len .URI}}"]);
    assert!(lines.out.contains("sim:|4\n"), "{}", lines.out);
    let table = place.run(&["backends", "--format", r"table {{.Summary}}\t{{.URI}}"]);
    assert!(table.out.starts_with("SUMMARY "), "{}", table.out);
    for (format, said) in [
        ("{{.Nope}}", "there are URI, Summary"),
        ("{{range .}}{{end}}", "is not known here"),
        ("{{.URI", "has no `}}`"),
        ("yaml", "use `table`, `json`, or a template"),
    ] {
        let wrong = place.run(&["backends", "--format", format]);
        assert_eq!((wrong.code, wrong.out.as_str()), (Some(64), ""), "{format}");
        assert!(wrong.err.contains(said), "{format}: {}", wrong.err);
    }
}

/// Every listing that needs no replica, with the keys that `docs/cli-json.md` promises.
#[test]
fn documents_have_the_fields_that_are_described() {
    let place = Place::with(SHOP);
    let described = std::fs::read_to_string(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/cli-json.md"),
    )
    .expect("the page is there");
    for (verb, words) in [
        ("check", &["check", "--all"][..]),
        ("context ls", &["context", "ls"]),
        ("system df", &["system", "df"]),
        ("backends", &["backends"]),
        ("conformance --list", &["conformance", "--list"]),
    ] {
        let words = [words, &["--format", "json"]].concat();
        let ran = place.run(&words);
        let list = json(&ran.out);
        let row = list
            .get(0)
            .unwrap_or_else(|| panic!("{verb}: nothing in {list}"));
        let start = format!("| `{verb}` | `");
        let line = described.lines().find_map(|line| line.strip_prefix(&start));
        let line = line.unwrap_or_else(|| panic!("{verb} is not described"));
        let names = line.split('`').next().expect("text").split(' ');
        assert_eq!(keys(row), names.collect(), "{verb}");
    }
    let version = json(&place.run(&["version", "--format", "json"]).out);
    assert_eq!(version["cli_json"], 1);
    assert!(described.contains("**version 1**"));
    for verb in [
        "ps",
        "ls",
        "images",
        "image ls",
        "volumes",
        "top",
        "stats",
        "endpoints",
    ] {
        let mut words: Vec<&str> = verb.split(' ').chain(["--format", "json"]).collect();
        if verb == "stats" {
            words.push("--no-stream");
        }
        assert_eq!(json(&place.run(&words).out), json("[]"), "{verb}");
        assert!(
            described.contains(&format!("| `{verb}` | `")),
            "{verb} is not described"
        );
    }
}

#[test]
fn contexts_are_made_used_listed_and_removed() {
    let place = Place::new();
    let run = |words: &[&str]| {
        let mut command = place.command(words);
        command.env_remove("UNMOOR_BACKEND");
        ran(&mut command)
    };
    assert_eq!(run(&["context", "show"]).out, "default\n");
    assert_eq!(
        run(&[
            "context",
            "create",
            "model",
            "sim:",
            "--description",
            "a model"
        ])
        .out,
        "model\n"
    );
    assert_eq!(run(&["context", "use", "model"]).code, Some(0));
    assert_eq!(run(&["context", "show"]).out, "model\n");
    assert_eq!(run(&["ls", "-q"]).code, Some(0), "the model is looked at");
    let list = json(&run(&["context", "ls", "--format", "json"]).out);
    assert_eq!(list[1]["name"], "model");
    assert_eq!(list[1]["current"], true);
    let info = json(&run(&["system", "info", "--format", "json"]).out);
    assert_eq!(
        (&info["context"], &info["backend"]["scheme"]),
        (&"model".into(), &"sim".into())
    );
    let mode = std::fs::metadata(place.path().join(".config/unmoor/config.json")).expect("a file");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o600);
    assert_eq!(
        run(&["context", "rm", "model"]).code,
        Some(64),
        "it is in use"
    );
    assert_eq!(run(&["context", "rm", "-f", "model"]).code, Some(0));
    let gone = run(&["--context", "model", "ls"]);
    assert_eq!(gone.code, Some(1));
    assert!(
        gone.err.contains("there is no context `model`"),
        "{}",
        gone.err
    );
    for bad in [
        ["context", "create", "a/b", "sim:"],
        ["context", "create", "x", "no uri"],
    ] {
        assert_eq!(run(&bad).code, Some(64), "{bad:?}");
    }
    place.write("broken.json", "{");
    let mut broken = place.command(&["ls"]);
    broken.env_remove("UNMOOR_BACKEND");
    broken.env("UNMOOR_CONFIG", place.path().join("broken.json"));
    let broken = ran(&mut broken);
    assert_eq!(broken.code, Some(1));
    assert!(broken.err.contains("broken.json"), "{}", broken.err);
}

#[test]
fn shells_complete_verbs_options_and_names() {
    let place = Place::with(SHOP);
    let asked = |words: &[&str]| {
        let mut command = place.command(&["--"]);
        command.args(words);
        command.env("UNMOOR_COMPLETE", "fish");
        ran(&mut command).out
    };
    let first = |text: String| -> Vec<String> {
        text.lines()
            .map(|line| line.split('\t').next().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(first(asked(&["unmoor", "unpa"])), ["unpause"]);
    assert!(first(asked(&["unmoor", "ps", "--qui"])).contains(&"--quiet".to_owned()));
    assert_eq!(first(asked(&["unmoor", "logs", "a"])), ["api"]);
    assert_eq!(first(asked(&["unmoor", "exec", "w"])), ["web"]);
    assert!(first(asked(&["unmoor", "-b", "si"])).contains(&"sim:".to_owned()));
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&["completion", shell]);
        assert_eq!(script.code, Some(0), "{shell}: {}", script.err);
        assert!(
            script.out.contains("UNMOOR_COMPLETE"),
            "{shell}: {}",
            script.out
        );
    }
}

#[test]
fn manual_pages_are_written_for_every_verb() {
    let place = Place::new();
    let ran = place.run(&["man", "pages"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for page in [
        "unmoor.1",
        "unmoor-up.1",
        "unmoor-cp.1",
        "unmoor-context-create.1",
    ] {
        assert!(place.path().join("pages").join(page).is_file(), "{page}");
    }
    let pages = std::fs::read_dir(place.path().join("pages")).expect("a directory");
    let pages: Vec<_> = pages.map(|page| page.expect("a page").path()).collect();
    assert!(pages.len() > 50, "{}", pages.len());
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a page");
        let sections = text.lines().filter_map(|line| line.strip_prefix(".SH "));
        let sections: Vec<&str> = sections.take(3).collect();
        let wanted = ["NAME", "SYNOPSIS", "EXAMPLES"];
        assert_eq!(sections, wanted, "{}", page.display());
        let examples = text.split(".SH EXAMPLES\n.nf\n").nth(1).expect("examples");
        let examples = examples.split(".fi\n").next().unwrap_or_default();
        assert!(examples.contains("unmoor "), "{}: {text}", page.display());
    }
}

#[test]
fn check_names_each_field_for_each_backend() {
    let place = Place::with(
        "services:\n  web:\n    image: x\n    privileged: true\n    deploy:\n      mode: global\n",
    );
    let ran = place.run(&[
        "check",
        "-b",
        "sim:",
        "-b",
        "sim:?name=two",
        "--format",
        "json",
        "--all",
    ]);
    assert_eq!(ran.code, Some(1), "a field is refused: {}", ran.err);
    let list = json(&ran.out);
    let verdict = |backend: &str, field: &str| {
        let rows = list.as_array().expect("a list").iter();
        let mut fitting = rows.filter(|row| row["backend"] == backend && row["field"] == field);
        fitting.next().map(|row| row["verdict"].clone())
    };
    for backend in ["sim:", "sim:?name=two"] {
        assert_eq!(verdict(backend, "services.web.image"), Some("exact".into()));
        assert_eq!(
            verdict(backend, "services.web.privileged"),
            Some("refused".into())
        );
        assert_eq!(
            verdict(backend, "services.web.deploy.mode"),
            Some("ignored".into())
        );
    }
    let fine = Place::with("services:\n  web:\n    image: x\n    deploy:\n      mode: global\n");
    assert_eq!(fine.run(&["check"]).code, Some(0));
    assert_eq!(fine.run(&["check", "--strict"]).code, Some(1));
    assert_eq!(fine.run(&["-b", "sim:", "-b", "sim:", "ps"]).code, Some(64));
}

#[test]
fn a_dry_run_goes_the_whole_way() {
    let place = Place::with(SHOP);
    let ran = place.run(&["up", "--dry-run", "-d", "--wait"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for line in [
        "dry run: nothing is changed",
        "replica shop-web-1: started",
        "service web: ready",
    ] {
        assert!(ran.err.contains(line), "{line} is not in {}", ran.err);
    }
    let events = place.run(&["--progress", "json", "up", "--dry-run", "-d"]);
    let events: Vec<Value> = events.err.lines().map(json).collect();
    let last = events.last().expect("events");
    assert_eq!(
        keys(last),
        BTreeSet::from(["changed", "event", "unchanged"])
    );
    let step = events
        .iter()
        .find(|event| event["event"] == "step")
        .expect("a step");
    let wanted = [
        "elapsed_ms",
        "event",
        "index",
        "outcome",
        "subject",
        "total",
        "verb",
    ];
    assert_eq!(keys(step), wanted.into());
    let plan = events
        .iter()
        .find(|event| event["event"] == "plan")
        .expect("a plan");
    assert_eq!(
        keys(plan),
        ["actions", "event", "plan", "stack", "writes"].into()
    );
    let man = place.run(&["--dry-run", "man", "pages"]);
    assert_eq!(
        (man.code, man.out.as_str()),
        (Some(0), "would write manual pages to pages\n")
    );
    assert!(!place.path().join("pages").exists());
}

#[test]
fn nothing_is_removed_without_being_asked_for() {
    let place = Place::new();
    let nothing = place.run(&["system", "prune"]);
    assert_eq!(
        (nothing.code, nothing.out.as_str()),
        (Some(0), ""),
        "{}",
        nothing.err
    );
}
