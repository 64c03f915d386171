//! The front of [`load`](super::load): finds the files, reads them bounded, and fills in what the
//! environment says.

use std::collections::btree_map::Entry;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Place};

use super::environment::{Environment, Files};
use super::text::{join, shown_path};
use super::{LoadOptions, Source, dotenv, yaml};

/// The names that are looked for, the first one wins.
const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];
/// The names of files that are merged onto the found one.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What to read, from where.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReadRequest {
    /// The working directory, as an absolute path.
    pub directory: PathBuf,
    /// Compose files (`-f`), `-` for standard input; empty looks for them.
    pub files: Vec<PathBuf>,
    /// Files of variables instead of `.env` (`--env-file`).
    pub env_files: Vec<PathBuf>,
    /// The process's environment, before any file.
    pub environment: Environment,
    /// What the caller asks for; the environment fills in the rest.
    pub options: LoadOptions,
}

impl ReadRequest {
    /// Looks for the files of `directory`, with its `.env`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, environment: Environment) -> Self {
        Self {
            directory: directory.into(),
            files: Vec::new(),
            env_files: Vec::new(),
            environment,
            options: LoadOptions::default(),
        }
    }

    /// Adds a Compose file.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// Sets what the caller asks for.
    #[must_use]
    pub fn options(mut self, options: LoadOptions) -> Self {
        self.options = options;
        self
    }
}

/// What [`load`](super::load) takes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Input {
    /// The files, in the order of merging.
    pub sources: Vec<Source>,
    /// The environment with the variables of `.env`.
    pub environment: Environment,
    /// The options with what the environment says.
    pub options: LoadOptions,
}

impl Input {
    /// Loads what was read.
    ///
    /// # Errors
    /// As [`load`](super::load).
    pub fn load(&self) -> Result<super::Loaded, super::LoadErrors> {
        super::load(&self.sources, &self.environment, &self.options)
    }

    /// Makes the normal document of what was read.
    ///
    /// # Errors
    /// As [`document`](super::document()).
    pub fn document(&self, form: super::Form) -> Result<super::Document, super::LoadErrors> {
        super::document(&self.sources, &self.environment, &self.options, form)
    }
}

/// Finds and reads Compose files and `.env`.
///
/// Given files, else `COMPOSE_FILE`, else `compose.yaml` or its older names in the project's
/// directory if one is given, else in the working directory, or the nearest one above, with its
/// override file. `COMPOSE_PROFILES`, `COMPOSE_ENV_FILES` and
/// `COMPOSE_DISABLE_ENV_FILE` count as they do for docker compose.
///
/// # Errors
/// `NotFound` if there is no file; `InvalidSpec` if one is not a text file of sensible size.
pub fn read(request: &ReadRequest) -> crate::Result<Input> {
    let mut environment = request.environment.clone();
    // As a shell has it; other callers may not.
    let here = request.directory.display().to_string();
    let variables = &mut environment.variables;
    variables.entry("PWD".to_owned()).or_insert(here);
    let variable = |env: &Environment, name: &str| {
        let value = env.variables.get(name).cloned();
        value.filter(|value| !value.is_empty())
    };
    environment.files = Arc::new(Disk);
    let start = first_directory(request);
    let named = named_env_files(request, &environment);
    if named.is_empty() {
        settings_of_env_file(&start, &mut environment)?;
    }
    let early = env_files(&named, &start, &environment)?;
    for path in &early {
        add_variables(path, &mut environment)?;
    }
    let given = given_files(
        request,
        variable(&environment, "COMPOSE_FILE"),
        &environment,
    );
    let paths = if given.is_empty() {
        // Without files, `start` is the project's directory, else that of the caller.
        discover(&start)?
    } else {
        given
    };
    let directory = project_directory(request, &paths);
    // Found elsewhere, the files bring their own.
    for path in env_files(&named, &directory, &environment)? {
        if !early.contains(&path) {
            add_variables(&path, &mut environment)?;
        }
    }
    let mut sources = Vec::new();
    for path in &paths {
        sources.push(source(path, &request.directory)?);
    }
    let mut options = request.options.clone();
    options.project_directory = Some(directory);
    if options.profiles.is_empty()
        && let Some(profiles) = variable(&environment, "COMPOSE_PROFILES")
    {
        let names = profiles.split(',').map(|name| name.trim().to_owned());
        options.profiles = names.filter(|name| !name.is_empty()).collect();
    }
    Ok(Input {
        sources,
        environment,
        options,
    })
}

fn given_files(
    request: &ReadRequest,
    variable: Option<String>,
    environment: &Environment,
) -> Vec<PathBuf> {
    let separator = environment.variables.get("COMPOSE_PATH_SEPARATOR");
    let separator = separator.filter(|s| !s.is_empty()).map_or(":", |s| s);
    let from_variable = || {
        let text = variable.unwrap_or_default();
        let parts = text.split(separator).filter(|part| !part.is_empty());
        parts.map(PathBuf::from).collect()
    };
    if request.files.is_empty() {
        from_variable()
    } else {
        request.files.clone()
    }
}

/// The usual file of the nearest directory upwards, with its override.
fn discover(start: &Path) -> crate::Result<Vec<PathBuf>> {
    for directory in start.ancestors() {
        let first = |names: &[&str]| {
            let candidates = names.iter().map(|name| directory.join(name));
            candidates.into_iter().find(|path| path.exists())
        };
        if let Some(found) = first(&NAMES) {
            return Ok(std::iter::once(found).chain(first(&OVERRIDES)).collect());
        }
    }
    let text = format!(
        "no {} in {} or a directory above",
        NAMES[0],
        shown_path(start)
    );
    Err(Error::new(ErrorKind::NotFound, text).hint("write one, or name a file with -f"))
}

/// As given, else where the first file stands.
fn project_directory(request: &ReadRequest, paths: &[PathBuf]) -> PathBuf {
    if let Some(directory) = &request.options.project_directory {
        return join(&request.directory, directory);
    }
    // What comes through a pipe stands nowhere: it belongs to the working directory.
    let first = paths.iter().find(|path| !is_stream(path));
    let parent = first.and_then(|path| join(&request.directory, path).parent().map(Path::to_owned));
    parent.unwrap_or_else(|| request.directory.clone())
}

/// What is known before any file is found: as given, else where the first named file stands, else
/// where it is read.
fn first_directory(request: &ReadRequest) -> PathBuf {
    project_directory(request, &request.files)
}

/// The files of variables that are named; those of the process's variable, not of a file's.
fn named_env_files(request: &ReadRequest, environment: &Environment) -> Vec<PathBuf> {
    let absolute = |path: &Path| join(&request.directory, path);
    if !request.env_files.is_empty() {
        let named = request.env_files.iter();
        return named.map(|path| absolute(path)).collect();
    }
    let variable = environment.variables.get("COMPOSE_ENV_FILES");
    let named = variable.map_or("", String::as_str).split(',');
    let named = named.filter(|path| !path.is_empty());
    named.map(|path| absolute(Path::new(path))).collect()
}

/// Settings of docker compose in the usual file of variables count before everything else, one that
/// switches this file off included.
fn settings_of_env_file(directory: &Path, environment: &mut Environment) -> crate::Result<()> {
    let mut seen = environment.clone();
    for path in env_files(&[], directory, environment)? {
        add_variables(&path, &mut seen)?;
    }
    let settings = seen.variables.into_iter();
    for (name, value) in settings.filter(|(name, _)| name.starts_with("COMPOSE_")) {
        if let Entry::Vacant(slot) = environment.variables.entry(name.clone()) {
            slot.insert(value);
            let origin = seen.origins.remove(&name);
            environment
                .origins
                .extend(origin.map(|place| (name, place)));
        }
    }
    Ok(())
}

fn env_files(
    named: &[PathBuf],
    directory: &Path,
    environment: &Environment,
) -> crate::Result<Vec<PathBuf>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let text = |name: &str| environment.variables.get(name).map_or("", String::as_str);
    match text("COMPOSE_DISABLE_ENV_FILE") {
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => {}
        "1" | "t" | "T" | "true" | "TRUE" | "True" => return Ok(Vec::new()),
        _ => {
            let text = "the variable COMPOSE_DISABLE_ENV_FILE is neither true nor false";
            return Err(Error::new(ErrorKind::InvalidSpec, text));
        }
    }
    let usual = directory.join(".env");
    Ok(if usual.is_file() {
        vec![usual]
    } else {
        Vec::new()
    })
}

/// Adds the file's variables; what the process has wins.
fn add_variables(path: &Path, environment: &mut Environment) -> crate::Result<()> {
    let text = text_file(path)?;
    let outside = |name: &str| environment.variables.get(name).cloned();
    let mut unset = Vec::new();
    let found = dotenv::parse_places(&text, &outside, &mut unset).map_err(|error| {
        Error::new(ErrorKind::InvalidSpec, error.to_string()).at(Place {
            file: shown_path(path),
            line: error.line,
            column: 1,
        })
    })?;
    for (name, line) in unset {
        let place = Place {
            file: shown_path(path),
            line,
            column: 1,
        };
        if !environment.unset.contains(&(name.clone(), place.clone())) {
            environment.unset.push((name, place));
        }
    }
    for (name, (value, line)) in found {
        // Docker compose takes `=1` for a variable without a name, which nobody can ask for.
        if name.is_empty() {
            continue;
        }
        if let Entry::Vacant(slot) = environment.variables.entry(name.clone()) {
            slot.insert(value);
            let place = Place {
                file: shown_path(path),
                line,
                column: 1,
            };
            environment.origins.insert(name, place);
        }
    }
    Ok(())
}

fn source(path: &Path, directory: &Path) -> crate::Result<Source> {
    if path.as_os_str() == "-" {
        let text = bounded(std::io::stdin().lock(), path)?;
        return Ok(Source::new("-", text).directory(directory));
    }
    let absolute = join(directory, path);
    let text = text_file(&absolute)?;
    let parent = match is_stream(path) {
        true => directory,
        false => absolute.parent().unwrap_or(Path::new("/")),
    };
    Ok(Source::new(shown_path(path), text).directory(parent))
}

/// True for standard input, and for what a shell opens for a program (`<(command)`).
fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-" || descriptor(path).is_some_and(|found| is_pipe(&found))
}

/// The descriptor of this process that a path names: `/dev/stdin`, `/dev/fd/3`, `/proc/self/fd/3`.
fn descriptor(path: &Path) -> Option<PathBuf> {
    let number = match path.to_str()? {
        "/dev/stdin" => "0",
        text => text
            .strip_prefix("/dev/fd/")
            .or_else(|| text.strip_prefix("/proc/self/fd/"))?,
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Path::new("/proc/self/fd").join(number))
}

/// True for a pipe without a name, which ends when nobody writes to it any more. Opening a FIFO
/// with a name would wait for somebody to write.
fn is_pipe(descriptor: &Path) -> bool {
    let target = fs::read_link(descriptor).unwrap_or_default();
    target
        .to_str()
        .is_some_and(|target| target.starts_with("pipe:["))
}

/// Files of this machine's disk.
#[derive(Debug, Clone, Copy)]
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> crate::Result<Option<String>> {
        match text_file(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[cfg(unix)]
    fn is_open_to_all(&self, path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt;
        let allows = |path: &Path, bit: u32| {
            fs::metadata(path).is_ok_and(|found| found.permissions().mode() & bit != 0)
        };
        // What lies in a directory that others cannot enter is out of their reach.
        let mut above = path.ancestors().skip(1);
        allows(path, 0o004) && above.all(|directory| allows(directory, 0o001))
    }
}

/// Reads a regular file, or a pipe that was opened for this process, of at most the size of a
/// Compose file as UTF-8.
fn text_file(path: &Path) -> crate::Result<String> {
    // Opening a FIFO would wait for a writer, and a device has no end: ask before.
    let kind = fs::metadata(path).map_err(|error| failed(path, error))?;
    if !kind.is_file() && !is_stream(path) {
        let text = format!("{} is not a regular file", shown_path(path));
        let error = Error::new(ErrorKind::InvalidSpec, text);
        return Err(match kind.is_dir() {
            true => error,
            false => error.hint("a Compose file may come through a pipe: `-f -`"),
        });
    }
    bounded(
        fs::File::open(path).map_err(|error| failed(path, error))?,
        path,
    )
}

fn bounded(from: impl Read, path: &Path) -> crate::Result<String> {
    let mut bytes = Vec::new();
    let limit = yaml::MAX_TEXT as u64 + 1;
    let read = from.take(limit).read_to_end(&mut bytes);
    read.map_err(|error| failed(path, error))?;
    decoded(path, bytes)
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    let (kind, text) = match error.kind() {
        std::io::ErrorKind::NotFound => (ErrorKind::NotFound, "there is no file"),
        std::io::ErrorKind::PermissionDenied => (ErrorKind::Forbidden, "cannot read"),
        _ => (ErrorKind::InvalidSpec, "cannot read"),
    };
    Error::new(kind, format!("{text} {}", shown_path(path))).because(error)
}

fn decoded(path: &Path, bytes: Vec<u8>) -> crate::Result<String> {
    let refused = |text: String| {
        let text = format!("{} {text}", shown_path(path));
        Err(Error::new(ErrorKind::InvalidSpec, text))
    };
    if bytes.len() > yaml::MAX_TEXT {
        return refused(format!("is larger than {} MiB", yaml::MAX_TEXT >> 20));
    }
    let wide = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => Some((rest, u16::from_le_bytes as fn([u8; 2]) -> u16)),
        [0xfe, 0xff, rest @ ..] => Some((rest, u16::from_be_bytes as fn([u8; 2]) -> u16)),
        _ => None,
    };
    if let Some((rest, unit)) = wide {
        // As shells of Windows write what is redirected.
        let (units, odd) = rest.as_chunks();
        let units = units.iter().map(|pair| unit(*pair));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        return match text {
            Ok(text) if odd.is_empty() => Ok(text),
            _ => refused("begins as UTF-16 does and is not: save it as UTF-8".to_owned()),
        };
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let before = String::from_utf8_lossy(before);
        let last = before.rsplit('\n').next().unwrap_or_default();
        Error::new(ErrorKind::InvalidSpec, "this is not UTF-8").at(Place {
            file: shown_path(path),
            line: 1 + before.matches('\n').count(),
            column: 1 + last.chars().count(),
        })
    })
}
