//! The given files, and those they include or extend, as one tree with the stack's name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::name::StackName;

use super::context::Context;
use super::cursor::At;
use super::interpolate::{Scope, interpolate};
use super::text::{absolute, shown, shown_path};
use super::tree::{Entry, Node, Value};
use super::{Level, Source, extends, include, merge, yaml};

/// The variable that holds the stack's name during interpolation.
const NAME_VARIABLE: &str = "COMPOSE_PROJECT_NAME";

/// The whole description, merged and interpolated, and the name of the stack.
pub(super) struct Assembled {
    pub(super) root: Node,
    pub(super) name: StackName,
    pub(super) directory: PathBuf,
}

/// Parses, interpolates and merges the sources.
pub(super) fn assemble(sources: &[Source], cx: &mut Context<'_>) -> Option<Assembled> {
    let Some(first) = sources.first() else {
        cx.push(crate::Error::new(
            crate::ErrorKind::NotFound,
            "no Compose file was given",
        ));
        return None;
    };
    let directory = match &cx.options.project_directory {
        Some(directory) => directory.clone(),
        None => first.directory.clone(),
    };
    let mut scope = cx.env.variables.clone();
    let mut parsed = Vec::new();
    for source in sources {
        let file = cx.add_file(&source.name, &directory, &Scope::default());
        parsed.extend(parse(file, &source.text, cx));
    }
    if parsed.len() < sources.len() {
        return None;
    }
    let name = name(&parsed, &scope, &directory, cx);
    if let Some(name) = &name {
        scope.insert(NAME_VARIABLE.to_owned(), name.to_string());
    }
    let scope = Arc::new(scope);
    cx.set_scopes(&scope);
    let mut whole: Option<Node> = None;
    for (source, mut node) in sources.iter().zip(parsed) {
        interpolate(&mut node, &scope, cx);
        let origin = Origin::of(source, &scope);
        resolve(&mut node, &origin, cx);
        whole = Some(match whole {
            Some(base) => merge::files(base, node, cx),
            None => {
                merge::spend_tags(&mut node);
                node
            }
        });
    }
    let mut root = whole?;
    merge::spend_tags(&mut root);
    Some(Assembled {
        root,
        name: name?,
        directory,
    })
}

/// What further files of a file are found by, and which led here.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) scope: Scope,
    /// The files that led to this one, itself last, to see circles.
    pub(super) trail: Vec<PathBuf>,
}

impl Origin {
    fn of(source: &Source, scope: &Scope) -> Self {
        Self {
            scope: Arc::clone(scope),
            trail: vec![source.directory.join(&source.name)],
        }
    }
}

/// Brings in what the file includes, then what its services extend.
pub(super) fn resolve(node: &mut Node, origin: &Origin, cx: &mut Context<'_>) {
    include::resolve(node, origin, cx);
    extends::resolve(node, origin, cx);
}

/// Parses one text; what is wrong with it is reported.
pub(super) fn parse(file: u32, text: &str, cx: &mut Context<'_>) -> Option<Node> {
    let node = match yaml::parse(file, text) {
        Ok(node) => node,
        Err(error) => {
            let mut report = cx.invalid(error.spot, "", error.text);
            if let Some(hint) = error.hint {
                report = report.hint(hint);
            }
            cx.push(report);
            return None;
        }
    };
    if node.is_null() {
        return Some(Node::new(node.spot, Value::Map(Vec::new())));
    }
    if node.as_map().is_none() {
        let text = format!("a Compose file is a mapping, this is {}", node.kind());
        cx.wrong(node.spot, "", text);
        return None;
    }
    Some(node)
}

/// Reads a further file as a tree; `None` if it is missing or unusable, which is reported.
pub(super) fn open(
    at: &At<'_>,
    path: &Path,
    base: &Path,
    scope: &Scope,
    cx: &mut Context<'_>,
) -> Option<Node> {
    let text = read(at, path, cx)?;
    let Some(text) = text else {
        cx.error(at, format!("there is no file {}", shown_path(path)));
        return None;
    };
    let file = cx.add_file(&shown_path(path), base, scope);
    let mut node = parse(file, &text, cx)?;
    interpolate(&mut node, scope, cx);
    Some(node)
}

/// Reads a further file; `Some(None)` if there is none.
pub(super) fn read(at: &At<'_>, path: &Path, cx: &mut Context<'_>) -> Option<Option<String>> {
    match cx.env.files.read(path) {
        Ok(text) => Some(text),
        Err(error) => {
            let place = cx.place(at.spot());
            cx.push(error.on(at.path()).at(place));
            None
        }
    }
}

/// A path of the file made absolute, or a report that it cannot be.
pub(super) fn path_of(at: &At<'_>, path: &str, cx: &mut Context<'_>) -> Option<PathBuf> {
    if path.contains('\0') {
        cx.error(at, format!("`{}` is not a path", shown(path)));
        return None;
    }
    let found = absolute(cx.base(at.node.spot), cx.env.home.as_deref(), path);
    if found.is_none() {
        cx.error_hint(
            at,
            format!(
                "`{}` starts at the home directory, which is not known",
                shown(path)
            ),
            "set HOME, or write the whole path",
        );
    }
    found
}

/// The stack's name: from the options, the environment, the file, or the directory.
fn name(
    parsed: &[Node],
    variables: &BTreeMap<String, String>,
    directory: &Path,
    cx: &mut Context<'_>,
) -> Option<StackName> {
    let given = cx.options.name.clone().or_else(|| {
        let set = variables.get(NAME_VARIABLE).cloned();
        set.filter(|name| !name.is_empty())
    });
    if let Some(given) = given {
        return match StackName::parse(given) {
            Ok(name) => Some(name),
            Err(error) => {
                cx.push(crate::Error::from(error));
                None
            }
        };
    }
    let last = parsed
        .iter()
        .rev()
        .flat_map(|node| node.as_map().unwrap_or_default())
        .find(|entry| &*entry.key == "name" && !entry.value.is_null());
    if let Some(entry) = last {
        return name_of_file(entry, variables, cx);
    }
    let text = directory.file_name().map(|name| name.to_string_lossy());
    match StackName::parse(normal(&text.unwrap_or_default())) {
        Ok(name) => Some(name),
        Err(_) => {
            cx.push(
                crate::Error::new(
                    crate::ErrorKind::InvalidSpec,
                    format!("no stack name can be made of {}", shown_path(directory)),
                )
                .hint("write `name:` into the file, or give one with -p"),
            );
            None
        }
    }
}

fn name_of_file(
    entry: &Entry,
    variables: &BTreeMap<String, String>,
    cx: &mut Context<'_>,
) -> Option<StackName> {
    let mut node = entry.value.clone();
    interpolate(&mut node, &Arc::new(variables.clone()), cx);
    let Some(text) = node.as_text() else {
        let text = format!("must be a string, not {}", node.kind());
        cx.wrong(node.spot, "name", text);
        return None;
    };
    let normal = normal(text);
    match StackName::parse(normal.as_str()) {
        Ok(name) => {
            if normal != text {
                let text = format!("`{}` becomes `{normal}`", shown(text));
                cx.warn_spot(node.spot, "name".to_owned(), Level::Trap, text);
            }
            Some(name)
        }
        Err(error) => {
            cx.wrong(node.spot, "name", error.to_string());
            None
        }
    }
}

/// As docker compose makes names: lower case, without what is not allowed.
fn normal(text: &str) -> String {
    let lower = text.to_lowercase();
    let kept = lower
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(*c));
    let kept: String = kept.collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}
