//! Variables into the scalars of a parsed file; keys, and the structure, stay as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Level;
use super::Variable;
use super::context::{Context, not_set};
use super::normal::{scalars, values};
use super::scalar::Plain;
use super::template::{self, Use, Values};
use super::text::{shown, shown_field};
use super::tree::{Node, Spot, Style, Value};

/// Variables by name, shared by the files that see the same ones.
pub(super) type Scope = Arc<BTreeMap<String, String>>;

/// Interpolates every scalar of a whole file, and makes numbers of texts where numbers belong.
pub(super) fn interpolate(node: &mut Node, scope: &Scope, cx: &mut Context<'_>) {
    walk(node, scope, cx, &mut Vec::new());
}

/// What a text becomes at a place where no text belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cast {
    Whole,
    Float,
    Single,
    Flag,
}

/// How a text at this place is read.
fn cast_at(path: &[Arc<str>]) -> Option<Cast> {
    let [top, _, rest @ ..] = path else {
        return None;
    };
    let key = |index: usize| rest.get(index).map_or("", |key| &**key);
    match (&**top, rest.len()) {
        ("services", 1) => match key(0) {
            "cpu_count" | "cpu_period" | "cpu_quota" | "cpu_rt_period" | "cpu_rt_runtime"
            | "cpu_shares" | "oom_score_adj" | "pids_limit" | "scale" => Some(Cast::Whole),
            "cpu_percent" => Some(Cast::Float),
            "cpus" => Some(Cast::Single),
            "init" | "oom_kill_disable" | "privileged" | "read_only" | "stdin_open" | "tty" => {
                Some(Cast::Flag)
            }
            _ => None,
        },
        ("services", 2) => match (key(0), key(1)) {
            ("deploy", "replicas") | ("healthcheck", "retries") | ("ulimits", _) => {
                Some(Cast::Whole)
            }
            ("healthcheck", "disable") => Some(Cast::Flag),
            _ => None,
        },
        ("services", 3) => match (key(0), key(1), key(2)) {
            ("deploy", "update_config" | "rollback_config", "parallelism")
            | ("deploy", "restart_policy", "max_attempts")
            | ("deploy", "placement", "max_replicas_per_node")
            | ("ports", "[]", "target")
            | ("ulimits", _, "hard" | "soft") => Some(Cast::Whole),
            ("deploy", "update_config" | "rollback_config", "max_failure_ratio") => {
                Some(Cast::Float)
            }
            ("volumes", "[]", "read_only") => Some(Cast::Flag),
            _ => None,
        },
        ("services", 4) => {
            let nocopy = (key(0), key(1), key(2), key(3)) == ("volumes", "[]", "volume", "nocopy");
            nocopy.then_some(Cast::Flag)
        }
        ("networks", 1) => {
            let keys = [
                "external",
                "internal",
                "attachable",
                "enable_ipv4",
                "enable_ipv6",
            ];
            keys.contains(&key(0)).then_some(Cast::Flag)
        }
        ("volumes" | "secrets" | "configs", 1) => (key(0) == "external").then_some(Cast::Flag),
        _ => None,
    }
}

/// Makes a number or truth value of the text at this place, if one belongs there.
fn cast(node: &mut Node, path: &[Arc<str>], cx: &mut Context<'_>) {
    let (Some(text), Some(cast)) = (node.as_text(), cast_at(path)) else {
        return;
    };
    let plain = match cast {
        Cast::Whole => values::whole(text).map(|number| number.to_string()),
        Cast::Float => values::float(text).map(|number| number.to_string()),
        Cast::Single => values::float(text).map(|number| scalars::single(number as f32)),
        Cast::Flag => values::truth(text).map(|(value, is_old)| {
            if is_old {
                scalars::warn_of_old(node, &shown_field(path), value, cx);
            }
            value.to_string()
        }),
    };
    match plain {
        Some(plain) => *node = Node::plain(node.spot, &plain),
        None => {
            let what = match cast {
                Cast::Whole => "a whole number",
                Cast::Float | Cast::Single => "a number",
                Cast::Flag => "true or false",
            };
            let text = format!("must be {what}, not `{}`", shown(text));
            let spot = node.spot;
            if cx.failed.insert(spot) {
                cx.wrong(spot, &shown_field(path), text);
            }
        }
    }
}

fn walk(node: &mut Node, scope: &Scope, cx: &mut Context<'_>, path: &mut Vec<Arc<str>>) {
    match &mut node.value {
        Value::Scalar(scalar) if scalar.text.contains('$') && scalar.meaning() == Plain::Text => {
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
                    cast(node, path, cx);
                }
                Err(error) => {
                    cx.wrong(node.spot, &shown_field(path), error.to_string());
                    cx.failed.insert(node.spot);
                }
            }
        }
        Value::Scalar(_) => cast(node, path, cx),
        Value::List(items) => {
            path.push(Arc::clone(&cx.item));
            for item in items {
                walk(item, scope, cx, path);
            }
            path.pop();
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
        cx.warn_spot(spot, String::new(), Level::Trap, not_set(&name));
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
        let used = self.cx.used.entry(self.spot).or_default();
        if !used.iter().any(|known| known == name) {
            used.push(name.to_owned());
        }
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
