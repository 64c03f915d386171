//! Small generated files against docker compose itself: the same verdict, and where it accepts,
//! the same document. Runs where `UNMOOR_COMPOSE_ORACLE` names a docker-compose program; no daemon
//! is needed. `UNMOOR_ORACLE_CASES` and `UNMOOR_ORACLE_SEED` make a longer or another run.

#[path = "oracle/generate.rs"]
mod generate;
#[path = "oracle/json.rs"]
mod json;
#[path = "oracle/values.rs"]
mod values;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use generate::Case;
use unmoor_core::compose::{Environment, Form, LoadOptions, ReadRequest, read};

fn number(name: &str, usual: u64) -> u64 {
    let wanted = std::env::var(name).ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What a program says: a document, or why not.
type Answer = Result<serde_json::Value, String>;

/// The exit code of a program in Go that panics, which is no verdict.
const PANIC: i32 = 2;

fn write(case: &Case, directory: &Path) {
    for (name, text) in &case.files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
}

/// Docker compose's answer; nothing if it crashes.
fn theirs(oracle: &Path, case: &Case, directory: &Path) -> Option<Answer> {
    let output = Command::new(oracle)
        .args(&case.before)
        .args(["config", "--format", "json"])
        .args(&case.after)
        .current_dir(directory)
        .env_clear()
        .envs(values::VARIABLES.iter().copied())
        .output()
        .expect("the program runs");
    if output.status.code() == Some(PANIC) {
        return None;
    }
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("json: ") {
            // The model is accepted; only its text fails.
            return None;
        }
        return Some(Err(text.lines().last().unwrap_or_default().to_owned()));
    }
    Some(Ok(serde_json::from_slice(&output.stdout).expect("JSON")))
}

fn ours(case: &Case, directory: &Path) -> Answer {
    let mut environment = Environment::new();
    for (name, value) in values::VARIABLES {
        environment = environment.variable(*name, *value);
    }
    environment = environment.home("/home/me");
    let mut request = ReadRequest::new(directory, environment);
    let mut options = LoadOptions::default();
    let mut words = case.before.iter();
    while let (Some(flag), Some(value)) = (words.next(), words.next()) {
        match flag.as_str() {
            "-f" => request = request.file(value),
            "--profile" => options = options.profile(value),
            "-p" => options = options.name(value),
            _ => options = options.project_directory(value),
        }
    }
    let mut form = Form::default();
    for flag in &case.after {
        match flag.as_str() {
            "--no-interpolate" => form.interpolate = false,
            "--no-normalize" => form.normalize = false,
            "--no-path-resolution" => form.paths = false,
            "--no-consistency" => form.consistency = false,
            service => options.only.push(service.to_owned()),
        }
    }
    let input = read(&request.options(options)).map_err(|error| error.to_string())?;
    let document = input.document(form).map_err(|failed| failed.to_string())?;
    Ok(serde_json::from_str(&document.to_json()).expect("JSON"))
}

/// What differs between the two, if anything does.
fn compare(case: &Case, theirs: &Answer, ours: &Answer) -> Option<String> {
    let files: Vec<&str> = case.before.iter().map(String::as_str).collect();
    let said = match (theirs, ours) {
        (Err(_), Err(_)) => return None,
        (Ok(_), Err(ours)) => format!("refused here: {ours}"),
        (Err(theirs), Ok(_)) => format!("accepted here: {theirs}"),
        (Ok(theirs), Ok(ours)) => {
            let found = json::differences(theirs, ours);
            if found.is_empty() {
                return None;
            }
            found.join("\n")
        }
    };
    let shown = [
        "compose.yaml",
        "over.yaml",
        "sub/ext.yaml",
        "inc/in.yaml",
        "inc/more.yaml",
    ];
    let texts = shown.iter().filter_map(|name| {
        let text = case.files.get(*name)?;
        Some(format!("# {name}\n{text}"))
    });
    let texts: Vec<String> = texts.collect();
    Some(format!(
        "{} config {}\n{said}\n{}",
        files.join(" "),
        case.after.join(" "),
        texts.join("")
    ))
}

#[test]
fn generated_files_mean_what_docker_compose_says_they_mean() {
    let Some(oracle) = std::env::var_os("UNMOOR_COMPOSE_ORACLE").map(PathBuf::from) else {
        return unmoor_tools::skipped("UNMOOR_COMPOSE_ORACLE names no docker-compose program");
    };
    let (cases, first) = (
        number("UNMOOR_ORACLE_CASES", 200),
        number("UNMOOR_ORACLE_SEED", 1),
    );
    let next = AtomicUsize::new(0);
    let wrong: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let (accepted, crashed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = |worker: usize| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oracle-{worker}"));
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed) as u64;
            if index >= cases {
                break;
            }
            let seed = first + index;
            let case = generate::case(seed);
            let directory = directory.join("project");
            let _ = std::fs::remove_dir_all(&directory);
            write(&case, &directory);
            let Some(theirs) = theirs(&oracle, &case, &directory) else {
                crashed.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            accepted.fetch_add(usize::from(theirs.is_ok()), Ordering::Relaxed);
            let ours = ours(&case, &directory);
            if let Some(difference) = compare(&case, &theirs, &ours) {
                let text = format!("--- seed {seed}: {difference}");
                wrong.lock().expect("no worker panics").push(text);
            }
        }
        let _ = std::fs::remove_dir_all(&directory);
    };
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let work = &work;
            scope.spawn(move || work(worker));
        }
    });
    let wrong = wrong.into_inner().expect("no worker panics");
    let accepted = accepted.into_inner();
    println!(
        "{cases} cases from seed {first}: {accepted} accepted, {} crash docker compose, {} differ",
        crashed.into_inner(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        accepted * 4 > usize::try_from(cases).expect("a count"),
        "most cases are refused"
    );
}
