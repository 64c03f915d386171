//! `!reset` and `!override`: which places of earlier files a file clears.

use std::sync::Arc;

use super::tree::{Node, Tag, Value};

/// The places that a file clears, as paths of keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Resets(Vec<Vec<Arc<str>>>);

/// Takes the marks out of a file, with what `!reset` stands at.
pub(super) fn collect(root: &mut Node) -> Resets {
    let mut found = Resets::default();
    walk(root, &mut Vec::new(), &mut found);
    found
}

fn walk(node: &mut Node, path: &mut Vec<Arc<str>>, found: &mut Resets) {
    match &mut node.value {
        Value::Scalar(_) => {}
        Value::List(items) => {
            items.retain(|item| item.tag != Tag::Reset);
            for item in items {
                // Nothing can be cleared inside of a list; below it there is no path.
                path.push("[]".into());
                walk(item, path, found);
                path.pop();
            }
        }
        Value::Map(entries) => entries.retain_mut(|entry| {
            path.push(Arc::clone(&entry.key));
            let keep = match entry.value.tag {
                Tag::Reset => {
                    found.0.push(path.clone());
                    false
                }
                Tag::Override => {
                    found.0.push(path.clone());
                    true
                }
                _ => {
                    walk(&mut entry.value, path, found);
                    true
                }
            };
            path.pop();
            keep
        }),
    }
    node.tag = Tag::None;
}

impl Resets {
    /// Clears the places in what earlier files say.
    pub(super) fn apply(&self, root: &mut Node) {
        for path in &self.0 {
            clear(root, path);
        }
    }

    /// Clears the places of one service in a service that it extends.
    pub(super) fn apply_to_service(&self, name: &str, service: &mut Node) {
        for path in &self.0 {
            if let [section, service_name, rest @ ..] = path.as_slice()
                && &**section == "services"
                && &**service_name == name
                && !rest.is_empty()
            {
                clear(service, rest);
            }
        }
    }
}

fn clear(node: &mut Node, path: &[Arc<str>]) {
    match path {
        [] => {}
        [last] => {
            node.take(last);
        }
        [first, rest @ ..] => {
            if let Some(inner) = node.get_mut(first) {
                clear(inner, rest);
            }
        }
    }
}
