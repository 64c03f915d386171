//! Of one model, before the rest joins it: usual values are filled in, what excludes each other is
//! refused, and relative paths are put onto where the file stands.

use std::net::IpAddr;

use super::super::context::Context;
use super::super::gotext::{join, sprint};
use super::super::scalar::Plain;
use super::super::text::shown;
use super::super::tree::{Entry, Node, Value};

/// The entries of a section of the top.
fn section<'n>(root: &'n mut Node, key: &str) -> impl Iterator<Item = &'n mut Entry> {
    root.get_mut(key)
        .and_then(Node::as_map_mut)
        .into_iter()
        .flatten()
}

fn items<'n>(node: &'n mut Node, key: &str) -> impl Iterator<Item = &'n mut Node> {
    node.get_mut(key)
        .and_then(Node::as_list_mut)
        .into_iter()
        .flatten()
}

/// The requests for devices of a service.
fn devices(service: &mut Node) -> Vec<&mut Node> {
    let Value::Map(entries) = &mut service.value else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for Entry { key, value, .. } in entries {
        match &**key {
            "gpus" => found.extend(value.as_list_mut().into_iter().flatten()),
            "deploy" => {
                let reserved = value
                    .get_mut("resources")
                    .and_then(|resources| resources.get_mut("reservations"));
                let list = reserved.and_then(|reserved| reserved.get_mut("devices"));
                found.extend(list.and_then(Node::as_list_mut).into_iter().flatten());
            }
            _ => {}
        }
    }
    found
}

fn fill(node: &mut Node, key: &str, value: Node) {
    if node.as_map().is_some() && node.get(key).is_none() {
        node.set(key, value.filled());
    }
}

/// Fills in what the format takes for granted.
pub(super) fn defaults(root: &mut Node) {
    for entry in section(root, "services") {
        let service = &mut entry.value;
        if let Some(build) = service.get_mut("build") {
            let context = Node::text(build.spot, ".");
            fill(build, "context", context);
        }
        for secret in items(service, "secrets") {
            let source = secret.get("source").map_or("<nil>".to_owned(), sprint);
            let target = Node::text(secret.spot, &format!("/run/secrets/{source}"));
            fill(secret, "target", target);
        }
        for port in items(service, "ports") {
            let spot = port.spot;
            fill(port, "protocol", Node::text(spot, "tcp"));
            fill(port, "mode", Node::text(spot, "ingress"));
        }
        for device in devices(service) {
            let all = Node::text(device.spot, "all");
            if device.get("device_ids").is_none() {
                fill(device, "count", all);
            }
        }
    }
}

/// Refuses what excludes each other.
pub(super) fn validate(root: &mut Node, cx: &mut Context<'_>) {
    for entry in section(root, "volumes") {
        external_alone(entry, cx);
    }
    for entry in section(root, "configs") {
        one_source(entry, "configs", &["file", "environment", "content"], cx);
    }
    for entry in section(root, "secrets") {
        one_source(entry, "secrets", &["file", "environment"], cx);
    }
    for entry in section(root, "services") {
        let path = format!("services.{}", shown(&entry.key));
        for port in items(&mut entry.value, "ports") {
            let address = port.get("host_ip");
            if let Some(address) = address
                && let Some(text) = address.as_text()
                && text.parse::<IpAddr>().is_err()
            {
                let spot = address.spot;
                let text = format!("`{}` is not an IP address", shown(text));
                cx.wrong(spot, &format!("{path}.ports"), text);
            }
        }
        for device in devices(&mut entry.value) {
            if device.get("count").is_some() && device.get("device_ids").is_some() {
                let text = "`count` and `device_ids` exclude each other";
                cx.wrong(device.spot, &path, text);
            }
        }
        if let Some(develop) = entry.value.get_mut("develop") {
            for trigger in items(develop, "watch") {
                let blank = trigger
                    .get("path")
                    .filter(|path| path.as_text() == Some(""));
                if let Some(blank) = blank {
                    let path = format!("{path}.develop.watch");
                    cx.wrong(blank.spot, &path, "`path` is empty");
                }
            }
        }
    }
}

fn external_alone(entry: &Entry, cx: &mut Context<'_>) {
    if !entry.value.get("external").is_some_and(Node::is_true) {
        return;
    }
    for other in entry.value.as_map().unwrap_or_default() {
        if matches!(&*other.key, "name" | "external") || other.key.starts_with("x-") {
            continue;
        }
        let text = format!("`{}` has no place beside `external`", shown(&other.key));
        let path = format!("volumes.{}", shown(&entry.key));
        let error = cx.invalid(other.spot, &path, text);
        cx.push(error.hint("what exists already is not described again"));
    }
}

fn one_source(entry: &Entry, kind: &str, keys: &[&str], cx: &mut Context<'_>) {
    let count = keys
        .iter()
        .filter(|key| entry.value.get(key).is_some())
        .count();
    let path = format!("{kind}.{}", shown(&entry.key));
    let said: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    let said = said.join(", ");
    let elsewhere = ["driver", "external"]
        .iter()
        .any(|key| entry.value.get(key).is_some());
    if count > 1 {
        cx.wrong(entry.spot, &path, format!("has more than one of {said}"));
    } else if count == 0 && !elsewhere && entry.value.as_map().is_some() {
        cx.wrong(entry.spot, &path, format!("needs one of {said}"));
    }
}

/// Puts relative paths onto `base`, which may be relative itself.
pub(in super::super) fn paths(root: &mut Node, base: &str, cx: &mut Context<'_>) {
    let home = cx
        .env
        .home
        .as_deref()
        .map(|home| home.display().to_string());
    let mut onto = Onto {
        base,
        home: home.as_deref(),
        name: String::new(),
        cx,
    };
    for entry in section(root, "services") {
        onto.name = shown(&entry.key);
        onto.service(&mut entry.value);
    }
    for kind in ["configs", "secrets"] {
        for entry in section(root, kind) {
            if let Some(file) = entry.value.get_mut("file") {
                onto.host_path(file);
            }
        }
    }
    for entry in section(root, "volumes") {
        let is_local =
            |key: &str, text: &str| entry.value.get(key).and_then(Node::as_text) == Some(text);
        if !is_local("driver", "local") {
            continue;
        }
        if let Some(options) = entry.value.get_mut("driver_opts")
            && options.get("o").and_then(Node::as_text) == Some("bind")
            && let Some(device) = options.get_mut("device")
        {
            onto.host_path(device);
        }
    }
}

struct Onto<'b, 'c, 'e> {
    base: &'b str,
    home: Option<&'b str>,
    /// The service, for messages.
    name: String,
    cx: &'c mut Context<'e>,
}

impl Onto<'_, '_, '_> {
    fn service(&mut self, service: &mut Node) {
        let Value::Map(entries) = &mut service.value else {
            return;
        };
        for Entry { key, value, .. } in entries {
            match &**key {
                "build" => self.build(value),
                "env_file" => {
                    for file in value.as_list_mut().into_iter().flatten() {
                        if let Some(path) = file.get_mut("path") {
                            self.path(path);
                        }
                    }
                }
                "label_file" => {
                    for file in value.as_list_mut().into_iter().flatten() {
                        self.path(file);
                    }
                }
                "extends" => {
                    if let Some(file) = value.get_mut("file") {
                        self.path(file);
                    }
                }
                "develop" => {
                    for trigger in items(value, "watch") {
                        if let Some(path) = trigger.get_mut("path") {
                            self.path(path);
                        }
                    }
                }
                "volumes" => {
                    for mount in value.as_list_mut().into_iter().flatten() {
                        self.mount(mount);
                    }
                }
                _ => {}
            }
        }
    }

    fn build(&mut self, build: &mut Node) {
        if let Some(context) = build.get_mut("context") {
            self.context(context);
        }
        let further = build
            .get_mut("additional_contexts")
            .and_then(Node::as_map_mut);
        for entry in further.into_iter().flatten() {
            self.context(&mut entry.value);
        }
        let keys = build.get_mut("ssh").and_then(Node::as_map_mut);
        for entry in keys.into_iter().flatten() {
            self.host_path(&mut entry.value);
        }
    }

    fn mount(&mut self, mount: &mut Node) {
        if mount.get("type").and_then(Node::as_text) != Some("bind") {
            return;
        }
        let spot = mount.spot;
        match mount.get_mut("source") {
            Some(source) => self.host_path(source),
            None => {
                let path = format!("services.{}.volumes", self.name);
                self.cx.wrong(spot, &path, "a bind needs `source`");
            }
        }
    }

    /// The home directory for a `~`.
    fn at_home(&mut self, node: &Node, text: &str) -> String {
        let Some(rest) = text.strip_prefix('~') else {
            return text.to_owned();
        };
        if let Some(home) = self.home {
            return join(home, rest);
        }
        let said = format!(
            "`{}` starts at the home directory, which is not known",
            shown(text)
        );
        let error = self.cx.invalid(node.spot, "", said);
        self.cx
            .push(error.hint("set HOME, or write the whole path"));
        text.to_owned()
    }

    fn path(&mut self, node: &mut Node) {
        let Some(text) = node.as_text().map(str::to_owned) else {
            return;
        };
        let text = self.at_home(node, &text);
        let whole = match text.is_empty() || text.starts_with('/') {
            true => text,
            false => join(self.base, &text),
        };
        replace(node, &whole);
    }

    /// A path of the host; one of a Windows host is left alone, and so is its spelling.
    fn host_path(&mut self, node: &mut Node) {
        let Some(text) = node.as_text().map(str::to_owned) else {
            return;
        };
        let text = self.at_home(node, &text);
        let whole = match text.starts_with('/') || is_windows(&text) {
            true => text,
            false => join(self.base, &text),
        };
        replace(node, &whole);
    }

    /// The context of a build: a path, an address, or another service's image.
    fn context(&mut self, node: &mut Node) {
        const REMOTE: [&str; 7] = [
            "service:",
            "https://",
            "http://",
            "git://",
            "ssh://",
            "github.com/",
            "git@",
        ];
        let is_remote = |text: &str| {
            text.contains("://") || REMOTE.iter().any(|prefix| text.starts_with(prefix))
        };
        if !node.as_text().is_some_and(is_remote) {
            self.path(node);
        }
    }
}

/// A drive or a share.
fn is_windows(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_slash = |b: Option<&u8>| matches!(b, Some(b'/' | b'\\'));
    let drive = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.get(1) == Some(&b':')
        && is_slash(bytes.get(2));
    drive || text.starts_with("\\\\")
}

fn replace(node: &mut Node, text: &str) {
    *node = Node {
        tag: node.tag,
        ..Node::text(node.spot, text)
    };
}

/// Variables that stand in lists without a value get the one of the file's environment.
pub(super) fn environment(root: &mut Node, lookup: &dyn Fn(&str) -> Option<String>) {
    for entry in section(root, "services") {
        for item in items(&mut entry.value, "environment") {
            let found = item
                .as_text()
                .and_then(|name| Some(format!("{name}={}", lookup(name)?)));
            if let Some(text) = found {
                replace(item, &text);
            }
        }
    }
}

/// True for `true` and its like, in any spelling that Go reads.
pub(super) fn is_true(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(scalar) => match scalar.meaning() {
            Plain::Bool(value) => value,
            Plain::Int(number) => number == 1,
            Plain::Text => matches!(&*scalar.text, "1" | "t" | "T" | "true" | "TRUE" | "True"),
            _ => false,
        },
        _ => false,
    }
}
