//! The given files, and those they include or extend, as one tree in its long form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::name::StackName;

use super::context::Context;
use super::cursor::At;
use super::interpolate::{Scope, interpolate};
use super::text::{absolute, shown, shown_path};
use super::tree::{Node, Value};
use super::{Level, Source, extends, include, merge, normal, resets, yaml};

/// The variable that holds the stack's name during interpolation.
pub(super) const NAME_VARIABLE: &str = "COMPOSE_PROJECT_NAME";

/// The whole description, merged and interpolated, and the name of the stack.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) root: Node,
    pub(super) name: StackName,
    pub(super) directory: PathBuf,
    pub(super) scope: Scope,
}

/// From where a file's further files and paths start.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The directory that further files are looked for in, absolute.
    pub(super) loader: String,
    /// What the relative paths of the tree are put onto; below the top relative to the directory
    /// above.
    pub(super) working: String,
    pub(super) scope: Scope,
    /// The files that led to this one, itself last, to see circles.
    pub(super) trail: Vec<String>,
}

/// How much is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Everything.
    Whole,
    /// It stays as it is written, in its long form: a service of it is extended.
    Bare,
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
    cx.directory.clone_from(&directory);
    let mut scope = cx.env.variables.clone();
    let mut parsed = Vec::new();
    for source in sources {
        let file = cx.add_file(&source.name, &directory, &Scope::default());
        parsed.extend(documents(file, &source.text, cx));
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
    let base = directory.display().to_string();
    let files = sources.iter().zip(parsed).map(|(source, documents)| {
        let path = source.directory.join(&source.name).display().to_string();
        (path, documents)
    });
    let frame = Frame {
        loader: base.clone(),
        working: base,
        scope: Arc::clone(&scope),
        trail: Vec::new(),
    };
    let root = model(files.collect(), &frame, cx)?;
    Some(Assembled {
        root,
        name: name?,
        directory,
        scope,
    })
}

/// Several files as one, with usual values and whole paths.
pub(super) fn model(
    files: Vec<(String, Vec<Node>)>,
    frame: &Frame,
    cx: &mut Context<'_>,
) -> Option<Node> {
    let mut root: Option<Node> = None;
    let names: Vec<String> = files.iter().map(|(path, _)| path.clone()).collect();
    for (path, documents) in files {
        let mut frame = frame.clone();
        frame.trail.push(path);
        for document in documents {
            let below = root.unwrap_or_else(|| Node::map(document.spot, Vec::new()));
            root = Some(layer(below, document, &frame, Depth::Whole, cx).0);
        }
    }
    let Some(mut root) = root.filter(|root| root.as_map().is_some_and(|map| !map.is_empty()))
    else {
        if !cx.has_errors() {
            cx.push(nothing_in(&names));
        }
        return None;
    };
    normal::settle(&mut root, frame, cx);
    Some(root)
}

/// The error that there is nothing in these files.
fn nothing_in(files: &[String]) -> crate::Error {
    let name = |path: &String| match path.ends_with("/-") {
        true => "standard input".to_owned(),
        false => shown_path(Path::new(path)),
    };
    let names: Vec<String> = files.iter().map(name).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    let text = format!("{} {verb} empty", names.join(" and "));
    crate::Error::new(crate::ErrorKind::InvalidSpec, text)
        .hint("a Compose file has at least `services:`")
}

/// Puts one document onto what the ones before it came to; also says what it clears of them.
pub(super) fn layer(
    mut root: Node,
    mut document: Node,
    frame: &Frame,
    depth: Depth,
    cx: &mut Context<'_>,
) -> (Node, resets::Resets) {
    let resets = resets::collect(&mut document);
    if cx.form.interpolate {
        interpolate(&mut document, &frame.scope, cx);
    }
    if depth == Depth::Whole {
        extends::resolve(&mut document, frame, &resets, cx);
    }
    resets.apply(&mut root);
    if depth == Depth::Whole {
        include::resolve(&mut document, frame, cx);
    }
    let mut root = merge::files(root, document, cx);
    normal::canonical(&mut root, depth, cx);
    (root, resets)
}

/// Parses one text into its documents; what is wrong with it is reported.
pub(super) fn documents(file: u32, text: &str, cx: &mut Context<'_>) -> Option<Vec<Node>> {
    let documents = match yaml::parse(file, text) {
        Ok(documents) => documents,
        Err(error) => {
            let mut report = cx.invalid(error.spot, "", error.text);
            if let Some(hint) = error.hint {
                report = report.hint(hint);
            }
            cx.push(report);
            return None;
        }
    };
    for node in &documents {
        if node.as_map().is_none() {
            let text = match node.is_null() {
                true => "a Compose file is a mapping, this document is empty".to_owned(),
                false => format!("a Compose file is a mapping, this is {}", node.kind()),
            };
            cx.wrong(node.spot, "", text);
            return None;
        }
    }
    Some(documents)
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

/// A further file that must be there.
pub(super) fn read_present(at: &At<'_>, path: &Path, cx: &mut Context<'_>) -> Option<String> {
    let text = read(at, path, cx)?;
    if text.is_none() {
        cx.error(at, format!("there is no file {}", shown_path(path)));
    }
    text
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
    parsed: &[Vec<Node>],
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
        .flatten()
        .rev()
        .filter_map(|document| document.get("name"))
        .find(|name| matches!(&name.value, Value::Scalar(_)) && !name.is_null());
    if let Some(node) = last.filter(|node| node.as_text() != Some("")) {
        return name_of_file(node, variables, cx);
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
    node: &Node,
    variables: &BTreeMap<String, String>,
    cx: &mut Context<'_>,
) -> Option<StackName> {
    let mut node = node.clone();
    if cx.form.interpolate {
        interpolate(&mut node, &Arc::new(variables.clone()), cx);
    }
    let Some(text) = node.as_text() else {
        let text = format!("must be a string, not {}", node.kind());
        cx.failed.insert(node.spot);
        cx.wrong(node.spot, "name", text);
        return None;
    };
    let normal = normal(text);
    cx.written_name = Some(text.to_owned());
    match StackName::parse(normal.as_str()) {
        Ok(name) => {
            if normal != text && cx.form.interpolate {
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
