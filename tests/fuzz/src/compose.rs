//! Compose files with what stands beside them: parser, variables, files of variables, merge,
//! normal document, stack.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use unmoor_core::compose::{
    Document, Environment, Form, LoadErrors, LoadOptions, OnUnsupported, Source, document, load,
    to_json, to_yaml,
};

use crate::generate;
use crate::input::Input;
use crate::mutate::Words;
use crate::values::{VARIABLES, rows};

/// How many generated sets of files there are to begin with.
const GENERATED: u64 = 1500;
const DIRECTORY: &str = "/srv/t";

const FLAGS: &[&str] = &[
    "no-interpolate",
    "no-normalize",
    "no-path-resolution",
    "no-consistency",
    "no-env-resolution",
    "strict",
    "lenient",
    "profile",
    "service",
    "no-home",
];

const PIECES: &[&str] = &[
    "&a ",
    "*a",
    "<<: ",
    "!reset ",
    "!override ",
    "!!str ",
    "!!binary ",
    "${",
    "}",
    "$",
    "$$",
    ":-",
    ":?",
    ":+",
    "${A:-${B:-",
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
    ">-\n",
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
    "0x",
    "\u{feff}",
    "\u{0}",
    "\r\n",
    "é",
    "🦀",
    "\u{202e}",
    "\\",
    "\\n",
    "=",
    "export ",
    "80-81:90-91",
    "/",
    "..",
    ",",
    "%",
    "include: [compose.yaml]\n",
    "extends: {service: a}\n",
];

/// What mutations put in.
pub(crate) fn words() -> Words {
    let sections = ["service", "top", "resources", "odd"];
    let rows = sections.iter().flat_map(|section| rows(section));
    let keys = rows.map(|row| {
        let values = row.usual.into_iter().chain(row.odd);
        (row.key, values.collect())
    });
    Words {
        keys: keys.collect(),
        pieces: PIECES,
        flags: FLAGS,
    }
}

/// Sets of files to begin with: generated ones, and those of the project's own tests.
pub(crate) fn seeds() -> Vec<Input> {
    let generated = (0..GENERATED).map(|seed| {
        let case = generate::case(seed);
        let flags = case.after.iter().filter_map(|flag| flag.strip_prefix("--"));
        let profile = case.before.iter().any(|flag| flag == "--profile");
        let flags = flags.chain(profile.then_some("profile"));
        Input {
            flags: flags.map(str::to_owned).collect(),
            files: case.files,
        }
    });
    generated.chain(own()).collect()
}

/// The files that the importer's own tests bring along, each as the main one.
fn own() -> Vec<Input> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/tests/data/compose");
    let mut beside = BTreeMap::new();
    let mut mains = Vec::new();
    let mut open = vec![(folder, String::new())];
    while let Some((folder, inside)) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if path.is_dir() {
                open.push((path, format!("{inside}{name}/")));
            } else if let Ok(text) = fs::read_to_string(&path) {
                match inside.is_empty() && name.ends_with(".yaml") {
                    true => mains.push(text),
                    false if !name.ends_with(".expected") => {
                        beside.insert(format!("{inside}{name}"), text);
                    }
                    false => {}
                }
            }
        }
    }
    mains.sort();
    let input = |text| {
        let mut files = beside.clone();
        files.insert("compose.yaml".to_owned(), text);
        let flags = ["lenient", "profile"].map(str::to_owned).into();
        Input { flags, files }
    };
    mains.into_iter().map(input).collect()
}

/// Whatever the input is, there is an answer to everything that can be asked.
pub(crate) fn run(input: &Input) {
    let has = |flag: &str| input.flags.contains(flag);
    let files: BTreeMap<PathBuf, String> = input
        .files
        .iter()
        .map(|(name, text)| (Path::new(DIRECTORY).join(name), text.clone()))
        .collect();
    let mut env = Environment::new().files(files);
    for (name, value) in VARIABLES {
        env = env.variable(*name, *value);
    }
    if !has("no-home") {
        env = env.home("/home/me");
    }
    let mut options = LoadOptions::default();
    options.strict = has("strict");
    if has("lenient") {
        options.unsupported = OnUnsupported::Warn;
    }
    if has("profile") {
        options.profiles.push("*".to_owned());
    }
    if has("service") {
        options.only.push("a".to_owned());
    }
    let mut form = Form::default();
    form.interpolate = !has("no-interpolate");
    form.normalize = !has("no-normalize");
    form.paths = !has("no-path-resolution");
    form.consistency = !has("no-consistency");
    form.environment = !has("no-env-resolution");
    let source = |name: &str| {
        let text = input.files.get(name)?;
        Some(Source::new(name, text.as_str()).directory(DIRECTORY))
    };
    let sources: Vec<Source> = ["compose.yaml", "over.yaml"]
        .into_iter()
        .filter_map(source)
        .collect();
    match document(&sources, &env, &options, form) {
        Ok(found) => ask(&found),
        Err(failed) => said(&failed, &sources),
    }
    match load(&sources, &env, &options) {
        Ok(loaded) => {
            assert!(!to_yaml(&loaded.stack).is_empty());
            assert!(to_json(&loaded.stack).is_object());
        }
        Err(failed) => said(&failed, &sources),
    }
}

/// Everything that can be asked of a document.
fn ask(found: &Document) {
    assert!(found.to_json().starts_with('{'));
    assert!(!found.to_yaml().is_empty());
    let services = found.services();
    assert_eq!(services.len(), found.hashes().len(), "{services:?}");
    let _ = (found.images(), found.profiles(), found.models());
    let _ = (
        found.volumes(),
        found.networks(),
        found.template_variables(),
    );
    let _ = (found.explain(""), found.explain("services.*"));
}

/// An error has words, and none of them moves the cursor of a terminal.
fn said(failed: &LoadErrors, sources: &[Source]) {
    assert!(!failed.errors.is_empty(), "refused without a reason");
    let text = failed.to_string();
    let plain = |c: char| c == '\n' || !c.is_control();
    assert!(text.chars().all(plain), "{text:?}");
    for place in failed.errors.iter().flat_map(|error| error.places()) {
        let shown = sources.iter().find_map(|source| source.excerpt(place));
        assert!(shown.is_none_or(|shown| shown.chars().all(plain)));
    }
}
