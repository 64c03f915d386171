//! The checks over the whole stack, with the places of what they complain about.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::spec::{Places, Stack};

use super::context::Context;
use super::tree::{Node, Spot, Value};

/// Reports what is wrong with the stack as a whole.
pub(super) fn check(stack: &Stack, root: &Node, cx: &mut Context<'_>) {
    if cx.error_count() > cx.inconsistencies {
        // What is missing because it was wrong would be reported twice.
        return;
    }
    let mut said = BTreeSet::new();
    for problem in stack.problems() {
        let spot = spot(&problem, root);
        let named = problem.message().split('`').nth(1).map(str::to_owned);
        // A link makes a dependency too: one mistake, one error.
        if named.is_some() && !said.insert((spot.file, spot.line, spot.column, named)) {
            continue;
        }
        let place = cx.place(spot);
        let is_said = cx.is_wrong_at(&place) || cx.is_said(problem.message());
        if !is_said {
            cx.push(problem.at(place));
        }
    }
}

/// Deepest field that has a place of its own: `services.web.deploy.resources.limits.memory`.
const DEEPEST: usize = 6;

/// Where every field of the files stands, for whoever finds out later that it cannot be had.
pub(super) fn all(root: &Node, cx: &mut Context<'_>) -> Places {
    let mut places = Places::default();
    for (path, place) in std::mem::take(&mut cx.entries) {
        places.insert(path, place);
    }
    let mut waiting = vec![(String::new(), 1, root)];
    while let Some((path, depth, node)) = waiting.pop() {
        for entry in node.as_map().unwrap_or_default() {
            let path = match path.is_empty() {
                true => entry.key.to_string(),
                false => format!("{path}.{}", entry.key),
            };
            // A null of a service asks for nothing; most were filled in.
            if depth != 3 || !entry.value.is_null() {
                places.insert(path.clone(), cx.place(entry.spot));
            }
            if depth < DEEPEST {
                waiting.push((path, depth + 1, &entry.value));
            }
        }
    }
    places
}

/// Where what the problem is about stands.
fn spot(problem: &Error, root: &Node) -> Spot {
    let cycle = problem.message().strip_prefix("dependency cycle: ");
    if let Some((from, rest)) = cycle.and_then(|cycle| cycle.split_once(" -> ")) {
        let to = rest.split(" -> ").next().unwrap_or_default();
        let (service, spot) = find(root, &format!("services.{from}"));
        let keys = ["depends_on", "links"]
            .iter()
            .filter_map(|key| service.get(key));
        return keys
            .filter_map(|node| mention(node, to))
            .next()
            .unwrap_or(spot);
    }
    let (node, spot) = find(root, problem.subject().unwrap_or_default());
    let named = problem.message().split('`').nth(1);
    named.and_then(|name| mention(node, name)).unwrap_or(spot)
}

/// The node at a path such as `services.a.b.ports`, where names may hold dots, and its key's spot;
/// the nearest parent if it is not in the file.
fn find<'n>(root: &'n Node, path: &str) -> (&'n Node, Spot) {
    let (mut node, mut spot, mut rest) = (root, root.spot, path);
    while !rest.is_empty() {
        let entries = node.as_map().unwrap_or_default();
        let matching = entries.iter().filter(|entry| {
            let tail = rest.strip_prefix(&*entry.key);
            tail.is_some_and(|tail| tail.is_empty() || tail.starts_with('.'))
        });
        let Some(entry) = matching.max_by_key(|entry| entry.key.len()) else {
            break;
        };
        (node, spot) = (&entry.value, entry.spot);
        rest = rest[entry.key.len()..].trim_start_matches('.');
    }
    (node, spot)
}

/// Where `name` is mentioned in `node`, as a key or as a part of a text.
fn mention(node: &Node, name: &str) -> Option<Spot> {
    match &node.value {
        Value::Scalar(scalar) => {
            let part = scalar.text.split(':').any(|part| part == name);
            let tail = scalar.text.strip_prefix(name);
            let first = tail.is_some_and(|tail| tail.starts_with(['=', '/']));
            (part || first).then_some(node.spot)
        }
        Value::List(items) => items.iter().find_map(|item| mention(item, name)),
        Value::Map(entries) => entries.iter().find_map(|entry| {
            let is_key = &*entry.key == name;
            is_key
                .then_some(entry.spot)
                .or_else(|| mention(&entry.value, name))
        }),
    }
}
