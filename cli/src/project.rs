//! The stack that the options before the verb name: its files, its variables, its name.

use std::env;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::OnceLock;

use unmoor::compose::{
    self, Environment, Form, Input, LoadOptions, Loaded, OnUnsupported, ReadRequest,
};
use unmoor::name::{ServiceName, StackName};
use unmoor::plan::Scope;
use unmoor::spec::{Service, Stack};
use unmoor::{Error, ErrorKind};

use crate::args::Globals;
use crate::exit::Failure;

/// What happens to what cannot be honoured, by `--allow-gaps`.
pub(crate) fn on_unsupported(allow_gaps: bool) -> OnUnsupported {
    match allow_gaps {
        true => OnUnsupported::Warn,
        false => OnUnsupported::Refuse,
    }
}

/// What was read of the files: a pipe gives what it has only once.
static READ: OnceLock<Input> = OnceLock::new();

/// Finds and reads the Compose files.
pub(crate) fn input(globals: &Globals) -> Result<Input, Failure> {
    if let Some(input) = READ.get() {
        return Ok(input.clone());
    }
    let input = read(globals)?;
    Ok(READ.get_or_init(|| input).clone())
}

fn read(globals: &Globals) -> Result<Input, Failure> {
    let directory =
        env::current_dir().map_err(|error| Failure::System("find the working directory", error))?;
    let mut request = ReadRequest::new(directory, environment()).options(options(globals));
    request.files.clone_from(&globals.files);
    request.env_files.clone_from(&globals.env_files);
    Ok(compose::read(&request)?)
}

/// Finds, reads and understands the Compose files. Services that are named are taken in whatever
/// their profiles; what cannot be honoured of services that are not meant is not refused.
pub(crate) fn load(
    globals: &Globals,
    unsupported: OnUnsupported,
    about: &Scope,
) -> Result<Loaded, Failure> {
    let mut input = input(globals)?;
    let named = about.names().unwrap_or_default();
    input.options.unsupported = unsupported;
    input.options.services = named.iter().map(ToString::to_string).collect();
    input.options.about = about.clone();
    Ok(input.load()?)
}

fn options(globals: &Globals) -> LoadOptions {
    let mut options = LoadOptions::default();
    options.name.clone_from(&globals.project_name);
    options
        .project_directory
        .clone_from(&globals.project_directory);
    options.profiles.clone_from(&globals.profiles);
    options.all_resources = globals.all_resources;
    options
}

/// This process's environment; what is not UTF-8 cannot stand in a Compose file.
pub(crate) fn environment() -> Environment {
    let mut environment = Environment::new();
    for (name, value) in env::vars_os() {
        if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
            environment = environment.variable(name, value);
        }
    }
    match env::home_dir() {
        Some(home) if home.is_absolute() => environment.home(home),
        _ => environment,
    }
}

/// The stack's name, from `-p` or the environment without any file, else from the files.
pub(crate) fn name(globals: &Globals) -> Result<StackName, Failure> {
    let variable = || {
        env::var("COMPOSE_PROJECT_NAME")
            .ok()
            .filter(|name| !name.is_empty())
    };
    if let Some(name) = globals.project_name.clone().or_else(variable) {
        return Ok(StackName::parse(name).map_err(Error::from)?);
    }
    match load(globals, OnUnsupported::Warn, &Scope::All) {
        Ok(loaded) => Ok(loaded.stack.name),
        Err(Failure::Library(error)) if error.is_not_found() && globals.files.is_empty() => {
            Err(error
                .hint("name the stack with -p, or its file with -f; `unmoor ls` lists stacks")
                .into())
        }
        Err(failure) => Err(failure),
    }
}

/// A service of the stack.
pub(crate) fn service<'s>(stack: &'s Stack, name: &ServiceName) -> Result<&'s Service, Failure> {
    let found = stack.services.get(name);
    Ok(found.ok_or_else(|| {
        let known: Vec<&str> = stack.services.keys().map(ServiceName::as_str).collect();
        Error::new(ErrorKind::NotFound, format!("no service `{name}`"))
            .on(&stack.name)
            .hint(format!("it has: {}", known.join(", ")))
    })?)
}

/// A service of the files, or who takes it in if it is left out.
pub(crate) fn active<'s>(loaded: &'s Loaded, name: &ServiceName) -> Result<&'s Service, Failure> {
    match loaded
        .inactive
        .get(name.as_str())
        .and_then(|all| all.first())
    {
        None => service(&loaded.stack, name),
        Some(profile) => {
            let text = format!("no profile of service `{name}` is active");
            let error = Error::new(ErrorKind::NotFound, text).on(&loaded.stack.name);
            Err(error
                .hint(format!("`--profile {profile}` takes it in"))
                .into())
        }
    }
}

/// Services that the files keep from an attached `up` and from `logs` (`attach: false`), where the
/// stack is that of the files.
pub(crate) fn silent(globals: &Globals) -> Vec<ServiceName> {
    if globals.project_name.is_some() && globals.files.is_empty() {
        return Vec::new();
    }
    // What is wrong with the files has been said, or does not matter to what is there.
    let document = input(globals).ok();
    let document = document.and_then(|input| input.document(Form::default()).ok());
    let document = document.map(|document| document.to_value());
    let services = document
        .as_ref()
        .and_then(|value| value["services"].as_object());
    let silent = services.into_iter().flatten();
    let silent = silent.filter(|(_, service)| service["attach"] == false);
    silent
        .filter_map(|(name, _)| ServiceName::parse(name).ok())
        .collect()
}

/// Services that the files have and that are left out just now.
pub(crate) fn left_out(loaded: &Loaded) -> Vec<ServiceName> {
    let names = loaded.inactive.keys();
    names
        .filter_map(|name| ServiceName::parse(name).ok())
        .collect()
}

/// A name for a one-off copy of a service that no other copy has.
pub(crate) fn copy_name(service: &ServiceName) -> Result<ServiceName, Failure> {
    let random = RandomState::new().build_hasher().finish();
    let name = format!("{service}-run-{:012x}", random & 0xffff_ffff_ffff);
    Ok(ServiceName::parse(name).map_err(Error::from)?)
}
