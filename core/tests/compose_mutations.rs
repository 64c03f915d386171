//! Whatever is done to a file's text, loading it ends with a stack or with errors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::{
    Just, Strategy, TestCaseError, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::test_runner::RngSeed;
use serde_json::Value;
use unmoor_core::compose::{
    Document, Environment, Form, LoadOptions, OnUnsupported, Source, document, load, to_yaml,
};
use unmoor_core::spec::Stack;

fn environment() -> Environment {
    let named = [
        ("web.env", "A=1\n"),
        ("raw.env", "B=2\n"),
        ("part/common.yaml", COMMON),
    ];
    let files = named.map(|(name, text)| (Path::new("/srv/t").join(name), text.to_owned()));
    Environment::new()
        .home("/h")
        .variable("A", "a")
        .files(BTreeMap::from(files))
}

/// What the seeds are merged onto.
const BASE: &str = "name: t\nservices: {web: {image: b}, api: {image: c}}\nvolumes: {data: }\nnetworks: {front: , back: }\n";
const COMMON: &str = "services: {common: {image: c, environment: {X: 1}, ports: [\"1\"]}}\n";

/// Our own files that load, so that a small change is likely to be seen by every later step.
fn seeds() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/compose");
    let names = [
        "short.yaml",
        "long.yaml",
        "merge.yaml",
        "merge.override.yaml",
        "warnings.yaml",
    ];
    let read = |name| std::fs::read_to_string(folder.join(name)).expect("text");
    let extending =
        "services: {a: {extends: {file: part/common.yaml, service: common}}, b: {extends: a}}\n";
    names
        .into_iter()
        .map(read)
        .chain([extending.to_owned()])
        .collect()
}

#[derive(Debug, Clone)]
enum Edit {
    Delete(usize, usize),
    Insert(usize, String),
    Swap(usize, usize),
    Double(usize, usize),
    /// The value on a line, if it has one.
    Value(usize, String),
}

fn piece() -> impl Strategy<Value = String> {
    let known = [
        "&a ",
        "*a",
        "<<: ",
        "!reset ",
        "!override ",
        "!!str ",
        "${",
        "}",
        "$",
        ":-",
        "- ",
        "  ",
        "\t",
        ": ",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "|\n",
        ">\n",
        "---\n",
        "...\n",
        "# ",
        "\n",
        "null",
        "~",
        "0",
        "-1",
        "99999999999999999999",
        "1e999",
        ".nan",
        "\u{feff}",
        "\u{0}",
        "\r\n",
        "é",
        "🦀",
    ];
    prop_oneof![
        proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        ".{0,8}",
        Just("services:\n  a:\n    ".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = String> {
    let known = [
        "",
        "null",
        "true",
        "yes",
        "0",
        "-1",
        "65536",
        "1.5",
        "1e999",
        "x",
        "\"\"",
        "[]",
        "{}",
        "[x, y]",
        "[1]",
        "[[]]",
        "[{}]",
        "{a: b}",
        "{a: {b: c}}",
        "80:80",
        "a:b:c:d",
        "/x",
        "~/x",
        "../x",
        "1h",
        "64m",
        "2024-01-01",
        "${A}",
        "${B:-c}",
        "!reset x",
        "!override [x]",
        "*common",
        "|\n        x",
        "host",
        "service:api",
        "none",
        "always",
        "on-failure:x",
        "[CMD, x]",
        "[NONE]",
        "{<<: {a: b}}",
    ];
    proptest::sample::select(known.to_vec()).prop_map(str::to_owned)
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        8 => (any::<usize>(), value()).prop_map(|(line, text)| Edit::Value(line, text)),
        1 => (any::<usize>(), 1..40usize).prop_map(|(at, n)| Edit::Delete(at, n)),
        1 => (any::<usize>(), piece()).prop_map(|(at, text)| Edit::Insert(at, text)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Edit::Swap(a, b)),
        1 => (any::<usize>(), 1..60usize).prop_map(|(at, n)| Edit::Double(at, n)),
    ]
}

/// Puts `value` behind the first colon of a line, or behind its dash.
fn set_value(text: &mut Vec<char>, line: usize, value: &str) {
    let whole: String = text.iter().collect();
    let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
    let index = line % lines.len().max(1);
    let Some(line) = lines.get_mut(index) else {
        return;
    };
    let end = line
        .find(": ")
        .or_else(|| line.find(":"))
        .or_else(|| line.find('-'));
    if let Some(end) = end {
        line.truncate(end + 1);
        line.push(' ');
        line.push_str(value);
    }
    *text = lines.join("\n").chars().collect();
}

fn apply(text: &mut Vec<char>, edit: &Edit) {
    if text.is_empty() {
        return;
    }
    let length = text.len();
    match edit {
        Edit::Delete(at, n) => {
            let at = at % length;
            text.drain(at..(at + n).min(length));
        }
        Edit::Insert(at, piece) => {
            let at = at % length;
            text.splice(at..at, piece.chars());
        }
        Edit::Value(line, value) => set_value(text, *line, value),
        Edit::Swap(a, b) => text.swap(a % length, b % length),
        Edit::Double(at, n) => {
            let at = at % length;
            let copy: Vec<char> = text[at..(at + n).min(length)].to_vec();
            text.splice(at..at, copy);
        }
    }
}

/// Why a document reads back as another one. Docker compose's own reads back so, too, in each of
/// these cases and for the same reason.
fn reads_back_otherwise(found: &Document) -> Option<&'static str> {
    let value = found.to_value();
    if somewhere(&value, &|key, _| key.contains('$')) {
        return Some("dollars are doubled in keys, which are read as they are");
    }
    if somewhere(&value, &|key, _| key.is_empty()) {
        return Some("a list may hold an empty name, and is printed as a mapping, which may not");
    }
    let is_negative = |key: &str, value: &Value| {
        SIZES.contains(&key) && value.as_str().is_some_and(|text| text.starts_with('-'))
    };
    if somewhere(&value, &is_negative) {
        return Some("a negative size is a number only, and printed as text");
    }
    let services = value["services"].as_object().expect("services");
    let lacks = |value: &Value, key: &str| value.get(key).is_none();
    for section in ["networks", "volumes", "secrets", "configs"] {
        let entries = value.get(section).and_then(Value::as_object);
        if entries.is_some_and(|entries| entries.values().any(|entry| lacks(entry, "name"))) {
            return Some("a name that is empty is not printed, and then a usual one");
        }
    }
    if services.values().any(lacks_what_was_empty) {
        return Some("a text that is empty is not printed, and then a usual one");
    }
    for service in services.values() {
        if ["network_mode", "networks", "provider"]
            .iter()
            .all(|key| lacks(service, key))
        {
            return Some("an empty network mode keeps networks away, and is not printed");
        }
    }
    None
}

/// True if an empty text stood where a usual one stands for nothing: the context or file of a
/// build, the protocol or mode of a port, the place of a secret.
fn lacks_what_was_empty(service: &Value) -> bool {
    let lacks = |value: &Value, key: &str| value.get(key).is_none();
    let items = |key: &str| {
        let list = service.get(key).and_then(Value::as_array);
        list.map_or(&[][..], Vec::as_slice).iter()
    };
    let build = service.get("build").is_some_and(|build| {
        lacks(build, "context") || lacks(build, "dockerfile") && lacks(build, "dockerfile_inline")
    });
    let ports = items("ports").any(|port| lacks(port, "protocol") || lacks(port, "mode"));
    let secrets = items("secrets").any(|secret| lacks(secret, "target"));
    build || ports || secrets
}

/// Keys whose number is a size.
const SIZES: [&str; 8] = [
    "mem_limit",
    "mem_reservation",
    "memswap_limit",
    "mem_swappiness",
    "shm_size",
    "size",
    "memory",
    "rate",
];

/// True if it holds for a key with its value anywhere.
fn somewhere(value: &Value, test: &dyn Fn(&str, &Value) -> bool) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| somewhere(item, test)),
        Value::Object(map) => map.iter().any(|(k, v)| test(k, v) || somewhere(v, test)),
        _ => false,
    }
}

/// What a document's text is read as, as a document and as a stack.
fn printed_and_read(found: &Document) -> Result<(Document, Stack), String> {
    let printed = [Source::new("p.yaml", found.to_yaml()).directory("/srv/t")];
    let options = LoadOptions::default().profile("*");
    let failed = |failed| format!("{failed}\n{}", found.to_yaml());
    let again = document(&printed, &environment(), &options, Form::default()).map_err(failed)?;
    let lenient = options.unsupported(OnUnsupported::Warn);
    let loaded = load(&printed, &environment(), &lenient).map_err(failed)?;
    Ok((again, loaded.stack))
}

/// How often to try; a longer run sets `PROPTEST_CASES`.
fn cases() -> u32 {
    let wanted = std::env::var("PROPTEST_CASES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(4000)
}

/// The same cases each time, so that only a change can break it; a longer run has others.
fn seed() -> RngSeed {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => RngSeed::Random,
        None => RngSeed::Fixed(7),
    }
}

/// The values in which two stacks differ.
fn differences(one: &Stack, other: &Stack) -> String {
    fn compare(path: &str, one: &Value, other: &Value, found: &mut String) {
        let (Value::Object(mine), Value::Object(theirs)) = (one, other) else {
            if one != other {
                *found += &format!("{path}: {one} is {other}\n");
            }
            return;
        };
        let more = theirs.keys().filter(|key| !mine.contains_key(*key));
        for key in mine.keys().chain(more) {
            let of =
                |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
            compare(&format!("{path}.{key}"), &of(mine), &of(theirs), found);
        }
    }
    let json = |stack: &Stack| serde_json::to_value(stack).expect("it serialises");
    let mut found = String::new();
    compare("", &json(one), &json(other), &mut found);
    if found.is_empty() && one != other {
        found.push_str("what is not shown, as the content of a secret");
    }
    found
}

proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: cases(),
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn loading_never_panics(
        seed in any::<proptest::sample::Index>(),
        edits in proptest::collection::vec(edit(), 1..3),
    ) {
        let seeds = seeds();
        let mut text: Vec<char> = seed.get(&seeds).chars().collect();
        edits.iter().for_each(|edit| apply(&mut text, edit));
        let text: String = text.into_iter().collect();
        let source = Source::new("c.yaml", text).directory("/srv/t");
        let env = environment();
        let options = LoadOptions::default()
            .profile("*")
            .unsupported(OnUnsupported::Warn);
        let base = Source::new("b.yaml", BASE);
        let base = base.directory("/srv/t");
        match load(&[base, source], &env, &options) {
            // What was accepted can be printed, and read again as YAML.
            Ok(loaded) => {
                let printed = Source::new("p.yaml", to_yaml(&loaded.stack)).directory("/srv/t");
                let again = load(&[printed], &env, &options);
                let blobs = loaded.stack.secrets.len() + loaded.stack.configs.len();
                match again {
                    Ok(again) => assert_eq!(differences(&again.stack, &loaded.stack), ""),
                    // A secret given by value is not printed.
                    Err(failed) => assert!(blobs > 0, "{failed}\n{}", to_yaml(&loaded.stack)),
                }
            }
            Err(failed) => {
                assert!(!failed.errors.is_empty());
                let said = failed.to_string();
                assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: cases() / 4,
        rng_seed: seed(),
        failure_persistence: None,
        ..Default::default()
    })]

    /// The document of whatever makes a stack is a Compose file with the same document, and of
    /// the same stack.
    #[test]
    fn a_printed_document_is_its_own_document(
        seed in any::<proptest::sample::Index>(),
        edits in proptest::collection::vec(edit(), 0..3),
    ) {
        let seeds = seeds();
        let mut text: Vec<char> = seed.get(&seeds).chars().collect();
        edits.iter().for_each(|edit| apply(&mut text, edit));
        let text: String = text.into_iter().collect();
        let base = Source::new("b.yaml", BASE).directory("/srv/t");
        let sources = [base, Source::new("c.yaml", text).directory("/srv/t")];
        let (env, options) = (environment(), LoadOptions::default().profile("*"));
        let mut raw = Form::default();
        raw.interpolate = false;
        if let Ok(found) = document(&sources, &env, &options, raw) {
            prop_assert!(!found.to_json().is_empty());
        }
        let lenient = options.clone().unsupported(OnUnsupported::Warn);
        let loaded = load(&sources, &env, &lenient);
        let found = document(&sources, &env, &options, Form::default());
        prop_assert!(found.is_ok() || loaded.is_err(), "what makes a stack has a document");
        if let (Ok(found), Ok(loaded)) = (found, loaded) && reads_back_otherwise(&found).is_none() {
            let (again, stack) = printed_and_read(&found).map_err(TestCaseError::fail)?;
            prop_assert_eq!(again.to_json(), found.to_json(), "{}", found.to_yaml());
            prop_assert_eq!(differences(&stack, &loaded.stack), "", "{}", found.to_yaml());
        }
    }

    #[test]
    fn variables_and_their_files_never_panic(text in "[$A-C{}:?+=\"' \\\\n#-]{0,40}", more in ".{0,40}") {
        let files = BTreeMap::from([(PathBuf::from("/srv/t/e.env"), format!("{text}\n{more}"))]);
        let env = Environment::new().variable("A", "a").files(files);
        let quoted = serde_json::to_string(&text).expect("a JSON string");
        let services = format!(
            "name: t\nservices: {{a: {{image: x, env_file: [e.env], labels: {{l: {quoted}}}}}}}\n"
        );
        let source = Source::new("c.yaml", services).directory("/srv/t");
        let _ = document(&[source], &env, &LoadOptions::default(), Form::default());
    }
}

#[test]
fn every_seed_loads_as_it_is() {
    let options = LoadOptions::default()
        .profile("*")
        .unsupported(OnUnsupported::Warn);
    for seed in seeds() {
        let base = Source::new("b.yaml", BASE);
        let sources = [base, Source::new("c.yaml", seed)].map(|source| source.directory("/srv/t"));
        if let Err(failed) = load(&sources, &environment(), &options) {
            panic!("{failed}");
        }
    }
}
