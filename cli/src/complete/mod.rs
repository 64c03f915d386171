//! Words that a shell completes: what the files here and the backend have, and what there is to
//! choose from.

mod line;

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::ArgValueCompleter;
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter as _};
use serde_json::Value;
use unmoor::Client;
use unmoor::compose::{Document, Form, OnUnsupported};
use unmoor::label::Selector;
use unmoor::name::StackName;
use unmoor::plan::Scope;

use crate::app::App;
use crate::config::Config;
use crate::exit::Failure;
use crate::{project, select, view};

/// How long a backend may take to answer somebody who waits with a finger on a key.
const PATIENCE: Duration = Duration::from_secs(2);

/// Signals that somebody sends by name.
const SIGNALS: [&str; 10] = [
    "HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP", "WINCH",
];

fn candidates<T: ToString>(
    names: impl IntoIterator<Item = T>,
    begun: &OsStr,
) -> Vec<CompletionCandidate> {
    let begun = begun.to_string_lossy();
    let names = names.into_iter().map(|name| name.to_string());
    let fitting = names.filter(|name| name.starts_with(begun.as_ref()));
    fitting.map(CompletionCandidate::new).collect()
}

/// What completes one of these words.
pub(crate) fn one_of(words: &'static [&'static str]) -> ArgValueCompleter {
    ArgValueCompleter::new(move |begun: &OsStr| candidates(words, begun))
}

/// What completes the name of a service.
pub(crate) fn of_services() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| candidates(services(), begun))
}

/// What completes `SERVICE=N` as far as it can be known.
pub(crate) fn of_scale() -> ArgValueCompleter {
    let name = |begun: &OsStr| candidates(services().iter().map(|name| format!("{name}=")), begun);
    ArgValueCompleter::new(name)
}

/// What completes one side of a copy: a path here, or a service with a colon.
pub(crate) fn of_sides() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let inside = services();
        let mut all = candidates(inside.iter().map(|name| format!("{name}:")), begun);
        all.extend(PathCompleter::any().stdio().complete(begun));
        all
    })
}

/// What completes the name of a service or replica.
pub(crate) fn of_replicas() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let mut names = services();
        names.extend(ask(async |app, client| {
            let observed = client.observe(&Selector::stack(app.stack_name()?)).await?;
            Ok(observed.replicas().map(|one| one.id.to_string()).collect())
        }));
        candidates(names, begun)
    })
}

/// What completes the alias of a link that was made by hand.
pub(crate) fn of_links() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let aliases = ask(async |app, client| {
            let record = client.record(&app.stack_name()?).await?;
            let links = record.hand.links.into_values().flatten();
            Ok(links.map(|link| link.alias.to_string()).collect())
        });
        candidates(aliases, begun)
    })
}

/// What completes the name of a stack.
pub(crate) fn of_stacks() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let stacks = ask(async |_, client| {
            let observed = client.observe(&Selector::all()).await?;
            let recorded = client.stacks().await?;
            let all = observed.stacks.into_keys().chain(recorded);
            let all: std::collections::BTreeSet<StackName> = all.collect();
            Ok(all.iter().map(ToString::to_string).collect())
        });
        candidates(stacks, begun)
    })
}

/// What completes the name of an image.
pub(crate) fn of_images() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let images = ask(async |_, client| {
            let entries = client.images()?.list().await?;
            let names = entries.into_iter().filter_map(|entry| entry.reference);
            Ok(names.map(|name| name.familiar()).collect())
        });
        candidates(images, begun)
    })
}

/// What completes the name of a profile.
pub(crate) fn of_profiles() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let profiles = document().map(|document| document.profiles());
        candidates(profiles.unwrap_or_default(), begun)
    })
}

/// What completes services that stand behind each other with commas, or all of them.
pub(crate) fn of_service_lists() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let text = begun.to_string_lossy();
        let before = text.rfind(',').map_or("", |at| &text[..=at]);
        let names = services();
        let all = names.iter().map(|name| format!("{before}{name}"));
        let every = before.is_empty().then(|| "*".to_owned());
        candidates(all.chain(every), begun)
    })
}

/// What completes a key of the files, part by part.
pub(crate) fn of_keys() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let text = begun.to_string_lossy();
        let before = text.rfind('.').map_or("", |at| &text[..=at]);
        let value = document().map(|document| document.to_value());
        let mut at = value.as_ref();
        for part in before.split_terminator('.') {
            at = at.and_then(|value| value.get(part));
        }
        let keys = at.and_then(Value::as_object).into_iter().flatten();
        candidates(keys.map(|(key, _)| format!("{before}{key}")), begun)
    })
}

/// What completes how replicas stand.
pub(crate) fn of_phases() -> ArgValueCompleter {
    one_of(&view::PHASES)
}

/// What completes a signal, with or without `SIG`.
pub(crate) fn of_signals() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let long = SIGNALS.map(|name| format!("SIG{name}"));
        let long = long.into_iter().filter(|_| !begun.is_empty());
        candidates(SIGNALS.map(str::to_owned).into_iter().chain(long), begun)
    })
}

/// The normal document of the files; nothing if it cannot be made.
fn document() -> Option<Document> {
    let input = project::input(&line::globals()).ok()?;
    input.document(Form::default()).ok()
}

/// Services of the files that are found from here, and of the stack that is named, which the
/// backend remembers; none if neither can be read.
fn services() -> Vec<String> {
    let globals = line::globals();
    let loaded = project::load(&globals, OnUnsupported::Warn, &Scope::All).ok();
    let mut names: Vec<String> = Vec::new();
    if let Some(loaded) = &loaded {
        names.extend(loaded.stack.services.keys().map(ToString::to_string));
        // Naming a service switches its profile on, so those count as well.
        names.extend(loaded.inactive.keys().cloned());
    }
    let is_named = globals.project_name.is_some() && globals.files.is_empty();
    if loaded.is_none() || is_named {
        let known = ask(async |app, client| {
            let known = select::known(client, &app.stack_name()?).await?;
            Ok(known.iter().map(ToString::to_string).collect())
        });
        names.extend(known);
    }
    names.sort();
    names.dedup();
    names
}

/// What the backend answers that the line or the environment names; nothing if it does not.
fn ask(question: impl AsyncFnOnce(&App, &Client) -> Result<Vec<String>, Failure>) -> Vec<String> {
    let app = App::new(line::globals());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let Ok(runtime) = runtime.worker_threads(1).enable_all().build() else {
        return Vec::new();
    };
    let asked = async {
        let client = app.connect().await?;
        question(&app, &client).await
    };
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    // Who has not answered by now is not waited for.
    runtime.shutdown_background();
    answer.ok().and_then(Result::ok).unwrap_or_default()
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
