//! Real projects' files, where the folder with them is beside the repository: each loads, or is
//! refused as docker compose refuses it, or names a key that cannot be honoured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use unmoor_core::ErrorKind;
use unmoor_core::compose::{Environment, LoadOptions, OnUnsupported, ReadRequest, read, to_json};

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

fn sets(folder: &Path) -> Vec<Set> {
    let results = std::fs::read_to_string(folder.join("expected/RESULTS.txt")).expect("results");
    let mut verdicts = BTreeMap::new();
    for line in results.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        if let [slug, files, "full", code, env_files, ..] = columns.as_slice() {
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
        println!("skipped: the folder with real files is not beside the repository");
        return;
    };
    let (mut loaded, mut refused, mut unsupported) = (0, 0, 0);
    let mut wrong = Vec::new();
    for set in sets(&folder) {
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

/// Keys of a service whose values must equal docker compose's.
const COMPARED: [&str; 25] = [
    "cap_add",
    "cap_drop",
    "command",
    "container_name",
    "depends_on",
    "entrypoint",
    "environment",
    "expose",
    "extra_hosts",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "labels",
    "networks",
    "platform",
    "ports",
    "privileged",
    "read_only",
    "restart",
    "stdin_open",
    "stop_signal",
    "ulimits",
    "user",
    "volumes",
];

#[test]
fn what_is_loaded_equals_what_docker_compose_prints() {
    let Some(folder) = corpus() else {
        println!("skipped: the folder with real files is not beside the repository");
        return;
    };
    let mut wrong = Vec::new();
    let mut compared = 0;
    for set in sets(&folder).iter().filter(|set| set.accepted) {
        let mut request = request(&folder, set);
        request.options = LoadOptions::default()
            .profile("*")
            .unsupported(OnUnsupported::Warn);
        let loaded = read(&request).expect("files can be read").load();
        let stack = loaded.expect("loads with gaps as warnings").stack;
        let files = set.files.join("+").replace('/', "_");
        let path = folder.join(format!("expected/{}@{files}.full.json", set.slug));
        let text = std::fs::read_to_string(&path).expect("the expected file");
        let here = folder.join(&set.slug).display().to_string();
        let text = text.replace(&format!("/CORPUS/{}", set.slug), &here);
        let expected: Value = serde_json::from_str(&text).expect("valid JSON");
        let ours = to_json(&stack);
        if ours["name"] != expected["name"] {
            wrong.push(format!(
                "{path:?}: name {} is {}",
                expected["name"], ours["name"]
            ));
        }
        for section in ["networks", "volumes", "secrets", "configs"] {
            let (mut mine, theirs) = (names(&ours[section]), names(&expected[section]));
            if text.contains("\"network_mode\": \"service:") {
                // Reported, and on the default network instead.
                mine.remove("default");
            }
            if mine != theirs {
                wrong.push(format!("{} {section}: {theirs:?} is {mine:?}", set.slug));
            }
        }
        let services = expected["services"].as_object().expect("services");
        for (name, theirs) in services {
            for key in COMPARED {
                compared += 1;
                let (mine, theirs) = (&ours["services"][name][key], theirs.get(key));
                let theirs = comparable(key, theirs.cloned().unwrap_or_default());
                let mine = comparable(key, mine.clone());
                let built = key == "image" && theirs.is_null();
                let mode = key == "networks" && theirs.is_null();
                if mine != theirs && !built && !mode {
                    wrong.push(format!(
                        "{} {name}.{key}:\n  theirs {theirs}\n  ours   {mine}",
                        set.slug
                    ));
                }
            }
        }
    }
    println!("{compared} values compared, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names of a section, with what the platform calls each.
fn names(section: &Value) -> BTreeMap<String, bool> {
    let entries = section.as_object().cloned().unwrap_or_default();
    entries
        .into_iter()
        .map(|(name, value)| (name, value["external"] == true || value["internal"] == true))
        .collect()
}

/// Takes away what the model does not hold or writes in another way.
fn comparable(key: &str, mut value: Value) -> Value {
    match (key, &mut value) {
        ("environment", Value::Object(map)) => {
            // A name without a value here and outside is not set at all.
            map.retain(|_, value| !value.is_null());
            if map.is_empty() {
                return Value::Null;
            }
        }
        ("image", Value::String(text)) => {
            let image = unmoor_core::image::ImageRef::parse(text);
            return image.map_or(Value::Null, |image| Value::from(image.to_string()));
        }
        ("volumes", Value::Array(mounts)) => {
            mounts.retain(|mount| mount["type"] != "tmpfs");
            mounts.iter_mut().for_each(plain_mount);
            if mounts.is_empty() {
                return Value::Null;
            }
        }
        ("ports", Value::Array(ports)) => {
            for port in ports.iter_mut().filter_map(Value::as_object_mut) {
                port.remove("name");
                port.remove("app_protocol");
            }
            ports.sort_by_key(ToString::to_string);
        }
        ("cap_add" | "cap_drop", Value::Array(items)) => {
            for item in items {
                *item = Value::from(item.as_str().unwrap_or_default().to_uppercase());
            }
        }
        ("healthcheck", Value::Object(map)) => map.retain(|key, value| !is_usual(key, value)),
        ("ulimits", Value::Object(map)) => {
            for limit in map
                .values_mut()
                .filter(|limit| limit["soft"] == limit["hard"])
            {
                if let Some(both) = limit.get("soft").cloned() {
                    *limit = both;
                }
            }
        }
        ("networks", Value::Object(map)) => map.values_mut().for_each(plain_network),
        ("restart", Value::String(text)) if text == "no" => return Value::Null,
        ("hostname" | "user", Value::String(text)) if text.is_empty() => return Value::Null,
        (_, Value::Bool(false)) => return Value::Null,
        _ => {}
    }
    value
}

/// A time of a health check that is the default.
fn is_usual(key: &str, value: &Value) -> bool {
    match key {
        "timeout" | "interval" => value == "30s",
        "start_interval" => value == "5s",
        "retries" => value == 3,
        _ => false,
    }
}

fn plain_mount(mount: &mut Value) {
    let Some(mount) = mount.as_object_mut() else {
        return;
    };
    mount.remove("bind");
    mount.remove("volume");
    if let Some(Value::String(source)) = mount.get_mut("source") {
        *source = format!("/{}", source.trim_matches('/'));
    }
}

fn plain_network(network: &mut Value) {
    let Some(map) = network.as_object_mut() else {
        return;
    };
    map.remove("ipv4_address");
    if map.is_empty() {
        *network = Value::Null;
    }
}
