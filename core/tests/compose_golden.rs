//! Our own files, each with what must come of it: the stack as YAML and the warnings, or the
//! errors. `UPDATE_GOLDEN=1` rewrites what is expected; the difference is then to be read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use unmoor_core::compose::{Environment, LoadOptions, OnUnsupported, Source, load, to_yaml};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/compose")
}

/// All files of the folder, as if it were `/srv/app`.
fn files(folder: &Path, inside: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).expect("the data folder") {
        let path = entry.expect("an entry").path();
        let name = inside.join(path.file_name().expect("a name"));
        if path.is_dir() {
            files(&path, &name, found);
        } else {
            found.insert(name, std::fs::read_to_string(&path).expect("a text file"));
        }
    }
}

fn environment() -> Environment {
    let mut found = BTreeMap::new();
    files(&data(), Path::new("/srv/app"), &mut found);
    Environment::new()
        .home("/home/me")
        .variable("FROM_HOST", "host value")
        .variable("SECRET_KEY", "hunter2")
        .files(found)
}

fn sources(case: &str) -> Vec<Source> {
    let names = [format!("{case}.yaml"), format!("{case}.override.yaml")];
    let present = names.iter().filter(|name| data().join(name).exists());
    present
        .map(|name| {
            let text = std::fs::read_to_string(data().join(name)).expect("the case");
            Source::new(name.as_str(), text).directory("/srv/app")
        })
        .collect()
}

fn outcome(case: &str, options: &LoadOptions) -> String {
    match load(&sources(case), &environment(), options) {
        Ok(loaded) => {
            let mut text = to_yaml(&loaded.stack);
            for warning in &loaded.warnings {
                text.push_str(&format!("# {:?} {warning}\n", warning.level));
            }
            text
        }
        Err(failed) => format!("{failed}\n"),
    }
}

fn check(case: &str, variant: &str, options: &LoadOptions) -> Option<String> {
    let actual = outcome(case, options);
    let path = data().join(format!("{case}{variant}.expected"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &actual).expect("the expectation can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    (actual != expected)
        .then(|| format!("--- {case}{variant}: got\n{actual}\n--- expected\n{expected}"))
}

#[test]
fn each_file_gives_what_is_expected_of_it() {
    let usual = LoadOptions::default();
    let cases = [
        "short",
        "long",
        "merge",
        "reuse",
        "profiles",
        "warnings",
        "unsupported",
        "errors",
        "whole",
    ];
    let mut wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| check(case, "", &usual))
        .collect();
    let lenient = LoadOptions::default().unsupported(OnUnsupported::Warn);
    wrong.extend(check("unsupported", ".lenient", &lenient));
    let all = LoadOptions::default()
        .profile("debug")
        .unsupported(OnUnsupported::Warn);
    wrong.extend(check("profiles", ".debug", &all));
    let named = LoadOptions::default().service("debug");
    wrong.extend(check("profiles", ".debug", &named));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_printed_loads_as_the_same_stack() {
    for case in ["short", "long", "merge", "reuse", "profiles", "warnings"] {
        let options = LoadOptions::default();
        let stack = load(&sources(case), &environment(), &options)
            .expect("the case loads")
            .stack;
        let text = to_yaml(&stack);
        // A secret given by value is not printed.
        let text = text.replace(
            "x-unmoor:\n      sha256",
            "file: /x\n    x-u:\n      sha256",
        );
        let printed = Source::new("printed.yaml", text.as_str()).directory("/elsewhere");
        let again = load(&[printed], &Environment::new(), &options);
        let again = again
            .unwrap_or_else(|failed| panic!("{case}: {failed}\n{text}"))
            .stack;
        assert_eq!(again.services, stack.services, "{case}:\n{text}");
        assert_eq!(again.volumes.len(), stack.volumes.len(), "{case}");
    }
}
