//! Names that a shell completes: services of the Compose files here, contexts, backends.

use std::ffi::OsStr;

use clap_complete::ArgValueCompleter;
use clap_complete::engine::CompletionCandidate;
use unmoor::compose::OnUnsupported;
use unmoor::plan::Scope;

use crate::args::Globals;
use crate::config::Config;
use crate::project;

fn candidates<T: ToString>(
    names: impl IntoIterator<Item = T>,
    begun: &OsStr,
) -> Vec<CompletionCandidate> {
    let begun = begun.to_string_lossy();
    let names = names.into_iter().map(|name| name.to_string());
    let fitting = names.filter(|name| name.starts_with(begun.as_ref()));
    fitting.map(CompletionCandidate::new).collect()
}

/// What completes the name of a service.
pub(crate) fn of_services() -> ArgValueCompleter {
    ArgValueCompleter::new(services)
}

/// Services of the files that are found from here; none if they cannot be read.
fn services(begun: &OsStr) -> Vec<CompletionCandidate> {
    let loaded = project::load(&Globals::none(), OnUnsupported::Warn, &Scope::All).ok();
    // Naming a service switches its profile on, so those count as well.
    let names = loaded.iter().flat_map(|loaded| {
        let active = loaded.stack.services.keys().map(ToString::to_string);
        active.chain(loaded.inactive.keys().cloned())
    });
    candidates(names, begun)
}

/// Contexts of the configuration file.
pub(crate) fn contexts(begun: &OsStr) -> Vec<CompletionCandidate> {
    let config = Config::load().unwrap_or_default();
    let names = config
        .contexts
        .into_keys()
        .chain([crate::config::DEFAULT.to_owned()]);
    candidates(names, begun)
}

/// Schemes of the backends that this program can reach.
pub(crate) fn backends(begun: &OsStr) -> Vec<CompletionCandidate> {
    let catalog = unmoor::catalog();
    let schemes: Vec<String> = catalog
        .iter()
        .map(|(scheme, _)| format!("{scheme}:"))
        .collect();
    candidates(schemes, begun)
}
