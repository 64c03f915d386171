//! What stands twice in a list: the later one takes the place of the earlier one.

use std::collections::HashMap;

use super::super::context::Context;
use super::super::gotext::sprint;
use super::super::scalar::Plain;
use super::super::text::shown;
use super::super::tree::{Entry, Node, Value};
use super::mounts;

/// By what items are the same.
#[derive(Debug, Clone, Copy)]
enum By {
    /// What stands before `=`.
    Name,
    /// Where a volume is mounted.
    Target,
    /// Where a device is put.
    Device,
    /// Where a secret or config is put; the text is the usual directory.
    Grant(&'static str),
    /// The port.
    Port,
    /// The number, however it is written.
    Number,
    /// The path of a file.
    File,
}

/// Drops what stands twice.
pub(super) fn enforce(root: &mut Node, cx: &mut Context<'_>) {
    if let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) {
        for entry in services {
            let path = format!("services.{}", shown(&entry.key));
            service(&mut entry.value, &path, cx);
        }
    }
    if let Some(networks) = root.get_mut("networks").and_then(Node::as_map_mut) {
        for entry in networks {
            let path = format!("networks.{}.labels", shown(&entry.key));
            if let Some(labels) = entry.value.get_mut("labels") {
                list(labels, By::Name, &path, cx);
            }
        }
    }
}

fn service(node: &mut Node, path: &str, cx: &mut Context<'_>) {
    let Some(entries) = node.as_map_mut() else {
        return;
    };
    for Entry { key, value, .. } in entries {
        let by = match &**key {
            "annotations" | "cap_add" | "cap_drop" | "dns" | "dns_opt" | "dns_search"
            | "environment" | "labels" | "links" | "profiles" | "sysctls" | "tmpfs" => By::Name,
            "devices" => By::Device,
            "configs" => By::Grant(""),
            "secrets" => By::Grant("/run/secrets"),
            "env_file" => By::File,
            "expose" => By::Number,
            "ports" => By::Port,
            "volumes" => By::Target,
            "build" => {
                let keys = ["args", "additional_contexts", "tags", "labels"];
                parts(value, &keys, path, cx);
                continue;
            }
            "deploy" => {
                parts(value, &["labels"], path, cx);
                continue;
            }
            "networks" => {
                for entry in value.as_map_mut().into_iter().flatten() {
                    parts(&mut entry.value, &["aliases", "link_local_ips"], path, cx);
                }
                continue;
            }
            _ => continue,
        };
        list(value, by, &format!("{path}.{key}"), cx);
    }
}

fn parts(node: &mut Node, keys: &[&str], path: &str, cx: &mut Context<'_>) {
    for key in keys {
        if let Some(value) = node.get_mut(key) {
            list(value, By::Name, &format!("{path}.{key}"), cx);
        }
    }
}

fn list(node: &mut Node, by: By, path: &str, cx: &mut Context<'_>) {
    let Some(items) = node.as_list_mut() else {
        return;
    };
    let mut places: HashMap<String, usize> = HashMap::with_capacity(items.len());
    let mut kept: Vec<Node> = Vec::with_capacity(items.len());
    for item in std::mem::take(items) {
        let key = match key(&item, by) {
            Ok(key) => key,
            Err(problem) => {
                if !cx.failed.contains(&item.spot) {
                    cx.wrong(item.spot, path, problem);
                    cx.failed.insert(item.spot);
                }
                None
            }
        };
        match key.as_ref().and_then(|key| places.get(key)) {
            Some(place) => kept[*place] = item,
            None => {
                if let Some(key) = key {
                    places.insert(key, kept.len());
                }
                kept.push(item);
            }
        }
    }
    *items = kept;
}

/// What the item is the same by; nothing for what is of a wrong kind, which is said elsewhere.
fn key(item: &Node, by: By) -> Result<Option<String>, String> {
    let text = item.as_text();
    let field = |key: &str| item.get(key).and_then(Node::as_text).map(str::to_owned);
    match by {
        By::Name => Ok(text.map(|text| text.split('=').next().unwrap_or(text).to_owned())),
        By::Target => match (text, item.as_map()) {
            (Some(text), _) => mounts::parse(text).map(|short| Some(short.target)),
            (_, Some(_)) => target(item),
            _ => Ok(None),
        },
        By::Device => match (text, item.as_map()) {
            (Some(text), _) => Ok(text.split(':').take(2).last().map(str::to_owned)),
            (_, Some(_)) => target(item),
            _ => Ok(None),
        },
        By::Grant(directory) => match (text, item.as_map()) {
            (Some(text), _) => Ok(Some(format!("{directory}/{text}"))),
            (_, Some(_)) => Ok(field("target").or_else(|| {
                let source = item.get("source").map_or("%!s(<nil>)".to_owned(), sprint);
                Some(format!("{directory}/{source}"))
            })),
            _ => Ok(None),
        },
        By::Port => port(item),
        By::Number => number(item),
        By::File => match text {
            Some(text) => Ok(Some(text.to_owned())),
            None => Ok(field("path")),
        },
    }
}

fn target(item: &Node) -> Result<Option<String>, String> {
    match item.get("target") {
        Some(target) => Ok(target.as_text().map(str::to_owned)),
        None => Err("needs `target`".to_owned()),
    }
}

fn number(item: &Node) -> Result<Option<String>, String> {
    let Value::Scalar(scalar) = &item.value else {
        return Ok(None);
    };
    match scalar.meaning() {
        Plain::Text => Ok(Some(scalar.text.to_string())),
        Plain::Int(number) => Ok(Some(number.to_string())),
        Plain::Float(_) => Err(format!("`{}` is not a port", shown(&scalar.text))),
        _ => Ok(None),
    }
}

fn port(item: &Node) -> Result<Option<String>, String> {
    if let Value::Scalar(scalar) = &item.value {
        return Ok(match scalar.meaning() {
            Plain::Text => Some(scalar.text.to_string()),
            Plain::Int(number) => Some(number.to_string()),
            _ => None,
        });
    }
    if item.as_map().is_none() {
        return Ok(None);
    }
    let Some(target) = item.get("target") else {
        return Err("needs `target`".to_owned());
    };
    let field = |key: &str, usual: &str| match item.get(key) {
        // A number and its text are not the same here.
        Some(node) if node.as_text().is_none() => format!("#{}", sprint(node)),
        Some(node) => sprint(node),
        None => usual.to_owned(),
    };
    Ok(Some(format!(
        "{} {} {} {}",
        field("host_ip", "0.0.0.0"),
        field("published", "%nil"),
        sprint(target),
        field("protocol", "tcp"),
    )))
}
