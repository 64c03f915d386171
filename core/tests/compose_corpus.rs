//! Real projects' files, where the folder with them is beside the repository: each loads, or is
//! refused as docker compose refuses it, or names a key that cannot be honoured.

#[path = "oracle/json.rs"]
mod json;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use unmoor_core::ErrorKind;
use unmoor_core::compose::{
    Environment, Form, LoadErrors, LoadOptions, OnUnsupported, ReadRequest, read,
};

fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join("shared/compose-corpus");
    let folder = folder.canonicalize().ok()?;
    folder.join("PROJECTS.txt").is_file().then_some(folder)
}

/// One set of files, with docker compose's verdict.
struct Set {
    slug: String,
    files: Vec<String>,
    env_files: Vec<String>,
    accepted: bool,
}

fn sets(folder: &Path, mode: &str) -> Vec<Set> {
    let results = std::fs::read_to_string(folder.join("expected/RESULTS.txt")).expect("results");
    let mut verdicts = BTreeMap::new();
    for line in results.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        if let [slug, files, of_mode, code, env_files, ..] = columns.as_slice()
            && *of_mode == mode
        {
            verdicts.insert((*slug, *files), (*code == "0", *env_files));
        }
    }
    let projects = std::fs::read_to_string(folder.join("PROJECTS.txt")).expect("projects");
    let lines = projects.lines().filter(|line| !line.starts_with('#'));
    let sets = lines.filter_map(|line| {
        let (slug, files) = line.split_once('\t')?;
        let (accepted, env_files) = *verdicts.get(&(slug, files))?;
        let split = |text: &str| {
            let parts = text.split(',').filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect::<Vec<_>>()
        };
        Some(Set {
            slug: slug.to_owned(),
            files: split(files),
            env_files: split(env_files),
            accepted,
        })
    });
    sets.collect()
}

fn request(folder: &Path, set: &Set) -> ReadRequest {
    let directory = folder.join(&set.slug);
    let environment = Environment::new()
        .home("/HOME")
        .variable("HOME", "/HOME")
        .variable("PWD", directory.display().to_string());
    let mut request = ReadRequest::new(&directory, environment);
    request.files = set.files.iter().map(PathBuf::from).collect();
    request.env_files = set.env_files.iter().map(PathBuf::from).collect();
    request
}

#[test]
fn every_real_file_loads_or_is_refused_for_a_known_reason() {
    let Some(folder) = corpus() else {
        return unmoor_tools::skipped("the folder with real files is not beside the repository");
    };
    let (mut loaded, mut refused, mut unsupported) = (0, 0, 0);
    let mut wrong = Vec::new();
    for set in sets(&folder, "full") {
        let title = format!("{} {}", set.slug, set.files.join(","));
        let mut request = request(&folder, &set);
        request.options = LoadOptions::default().profile("*");
        let outcome = read(&request).expect("files can be read").load();
        match (outcome, set.accepted) {
            (Ok(result), true) => {
                loaded += 1;
                println!("ok    {title}: {} services", result.stack.services.len());
            }
            (Ok(_), false) => wrong.push(format!("{title}: docker compose refuses it")),
            (Err(_), false) => refused += 1,
            (Err(failed), true) => {
                let only_unsupported = failed
                    .errors
                    .iter()
                    .all(|error| error.kind() == ErrorKind::Unsupported);
                if only_unsupported {
                    unsupported += 1;
                    println!("gap   {title}: {}", failed.errors[0]);
                    request.options = request.options.unsupported(OnUnsupported::Warn);
                    if let Err(failed) = read(&request).expect("read before").load() {
                        wrong.push(format!("{title}: also {failed}"));
                    }
                } else {
                    wrong.push(format!("{title}: {failed}"));
                }
            }
        }
    }
    println!("{loaded} loaded, {refused} refused as docker compose does, {unsupported} with gaps");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(loaded > 0, "no set of files was loaded");
}

/// The document of a set, in the form of an expected file.
fn document(folder: &Path, set: &Set, mode: &str) -> Result<Value, LoadErrors> {
    let mut request = request(folder, set);
    let mut form = Form::default();
    if mode == "raw" {
        form.interpolate = false;
        form.environment = false;
        form.paths = false;
    } else {
        request.options = LoadOptions::default().profile("*");
    }
    let document = read(&request).expect("files can be read").document(form)?;
    // The text, because it is what others read.
    Ok(serde_json::from_str(&document.to_json()).expect("valid JSON"))
}

/// Sets whose document differs from docker compose's; `docs/compose.md` says why of each.
const DIFFERENT: [&str; 0] = [];

#[test]
fn every_document_is_what_docker_compose_prints() {
    let Some(folder) = corpus() else {
        return unmoor_tools::skipped("the folder with real files is not beside the repository");
    };
    let mut wrong = Vec::new();
    let mut compared = 0;
    for mode in ["full", "raw"] {
        for set in sets(&folder, mode) {
            let files = set.files.join("+").replace('/', "_");
            let title = format!("{}@{files}.{mode}", set.slug);
            let found = document(&folder, &set, mode);
            compared += 1;
            let said = match (found, set.accepted) {
                (Err(_), false) => continue,
                (Ok(_), false) => vec!["docker compose refuses it".to_owned()],
                (Err(failed), true) => vec![failed.to_string()],
                (Ok(ours), true) => {
                    let path = folder.join(format!("expected/{title}.json"));
                    let text = std::fs::read_to_string(&path).expect("the expected file");
                    let here = folder.join(&set.slug).display().to_string();
                    let text = text.replace(&format!("/CORPUS/{}", set.slug), &here);
                    let theirs: Value = serde_json::from_str(&text).expect("valid JSON");
                    json::differences(&theirs, &ours)
                }
            };
            if !said.is_empty() && !DIFFERENT.contains(&title.as_str()) {
                wrong.push(format!("{title}: {}", said.join("\n  ")));
            }
        }
    }
    println!("{compared} documents compared, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 0, "no document was compared");
}
