//! The normal document: the merged tree with every value in one form and nothing left open, as
//! `docker compose config` shows it. Everything behind it reads only this form.
//!
//! The steps are docker compose's own, in its order, because each sees what the one before made:
//! `canonical` after every file (doubles, the format's rules, long forms), `settle` after every
//! model (usual values, exclusions, paths), then over the whole `complete`, `typed` and `whole`.

mod canonical;
mod check;
mod complete;
mod consistent;
mod env_files;
mod mounts;
mod pairs;
mod ports;
pub(super) mod scalars;
mod settle;
mod typed;
mod unique;
pub(super) mod values;
mod whole;

use std::sync::Arc;

use super::Level;
use super::assemble::{Assembled, Depth, Frame, NAME_VARIABLE};
use super::context::Context;
use super::cursor::At;
use super::format::TOP;
use super::tree::Node;

pub(super) use canonical::dependency;
pub(super) use check::fingerprint;
pub(super) use settle::paths;
pub(super) use whole::{inactive, profiles};

/// Puts the tree of the files so far into its long form, and checks it.
pub(super) fn canonical(root: &mut Node, depth: Depth, cx: &mut Context<'_>) {
    unique::enforce(root, cx);
    if depth == Depth::Whole {
        check::check(&At::root(root), &TOP, cx);
        if let Some(version) = At::root(root).get("version") {
            cx.warn(&version, Level::Note, "is obsolete and has no effect");
        }
        root.take("version");
    }
    let reading = match cx.form.interpolate {
        true => canonical::Reading::Strict,
        false => canonical::Reading::Lenient,
    };
    canonical::canonical(root, reading, cx);
    canonical::drop_empty(root);
    unique::enforce(root, cx);
}

/// Fills in and checks one model, and makes its paths whole.
pub(super) fn settle(root: &mut Node, frame: &Frame, cx: &mut Context<'_>) {
    settle::defaults(root);
    settle::validate(root, cx);
    let is_included = !frame.working.starts_with('/') || frame.trail.len() > 1;
    if cx.form.paths || is_included {
        settle::paths(root, &frame.working, cx);
    }
    if cx.form.interpolate {
        settle::environment(root, &|name| frame.scope.get(name).cloned());
    }
}

/// The normal document of the whole.
pub(super) fn document(assembled: &Assembled, cx: &mut Context<'_>) -> Node {
    let mut root = assembled.root.clone();
    let scope = Arc::clone(&assembled.scope);
    if cx.form.normalize {
        // As it is written, nothing of the outside is in it but the name.
        let is_seen = |name: &str| cx.form.interpolate || name == NAME_VARIABLE;
        let lookup = |name: &str| scope.get(name).filter(|_| is_seen(name)).cloned();
        complete::complete(&mut root, assembled.name.as_str(), &lookup);
    }
    if !cx.form.interpolate {
        return root;
    }
    if !cx.form.normalize {
        let written = cx.written_name.clone();
        let name = written.unwrap_or_else(|| assembled.name.to_string());
        root.set("name", Node::text(root.spot, &name));
    }
    let mut root = typed::typed(root, cx);
    whole::finish(&mut root, &scope, cx);
    root
}
