//! Variables into the scalars of a parsed file; keys, and the structure, stay as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Level;
use super::Variable;
use super::context::Context;
use super::template::{self, Use, Values};
use super::text::shown_field;
use super::tree::{Node, Spot, Style, Value};

/// Variables by name, shared by the files that see the same ones.
pub(super) type Scope = Arc<BTreeMap<String, String>>;

/// Interpolates every scalar of `node`.
pub(super) fn interpolate(node: &mut Node, scope: &Scope, cx: &mut Context<'_>) {
    walk(node, scope, cx, &mut Vec::new());
}

fn walk(node: &mut Node, scope: &Scope, cx: &mut Context<'_>, path: &mut Vec<Arc<str>>) {
    match &mut node.value {
        Value::Scalar(scalar) if scalar.text.contains('$') => {
            let mut values = Scoped {
                scope,
                cx,
                spot: node.spot,
                unset: Vec::new(),
            };
            let limit = values.cx.text_left;
            let result = template::expand(&scalar.text, &mut values, limit);
            let unset = std::mem::take(&mut values.unset);
            warn_unset(cx, node.spot, unset);
            match result {
                Ok(text) => {
                    cx.text_left -= text.len().min(cx.text_left);
                    scalar.text = text.into();
                    scalar.style = Style::Substituted;
                }
                Err(error) => {
                    cx.wrong(node.spot, &shown_field(path), error.to_string());
                    cx.failed.push(node.spot);
                }
            }
        }
        Value::Scalar(_) => {}
        Value::List(items) => {
            for item in items {
                walk(item, scope, cx, path);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                path.push(Arc::clone(&entry.key));
                walk(&mut entry.value, scope, cx, path);
                path.pop();
            }
        }
    }
}

fn warn_unset(cx: &mut Context<'_>, spot: Spot, names: Vec<String>) {
    for name in names {
        let text = format!("the variable {name} is not set, an empty text stands in its place");
        cx.warn_spot(spot, String::new(), Level::Trap, text);
    }
}

struct Scoped<'s, 'c, 'e> {
    scope: &'s Scope,
    cx: &'c mut Context<'e>,
    spot: Spot,
    unset: Vec<String>,
}

impl Values for Scoped<'_, '_, '_> {
    fn value(&mut self, name: &str, how: Use<'_>) -> Option<String> {
        let value = self.scope.get(name).cloned();
        if !self.cx.variables.contains_key(name) {
            let place = self.cx.place(self.spot);
            self.cx.variables.insert(
                name.to_owned(),
                Variable {
                    is_set: value.is_some(),
                    default: None,
                    is_required: false,
                    warned: false,
                    place,
                },
            );
        }
        let known = self.cx.variables.get_mut(name)?;
        match how {
            Use::Default(text) if known.default.is_none() => known.default = Some(text.to_owned()),
            Use::Required => known.is_required = true,
            Use::Plain if value.is_none() && !known.warned => {
                known.warned = true;
                self.unset.push(name.to_owned());
            }
            _ => {}
        }
        value
    }
}
