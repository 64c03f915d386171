//! What does not fit together in a whole document: names that nothing answers to, keys that
//! exclude each other, and services that wait for each other.

use std::collections::{HashMap, HashSet};

use super::super::context::Context;
use super::super::scalar::Plain;
use super::super::text::shown;
use super::super::tree::{Entry, Node, Spot, Value};
use super::whole::{mounted, section, sources};

/// What there is in the document.
struct Known<'n> {
    services: HashMap<&'n str, &'n Node>,
    networks: HashMap<&'n str, &'n Node>,
    volumes: HashMap<&'n str, &'n Node>,
    secrets: HashMap<&'n str, &'n Node>,
    configs: HashMap<&'n str, &'n Node>,
    models: HashMap<&'n str, &'n Node>,
    disabled: &'n HashSet<String>,
}

/// Reports what does not fit together.
pub(super) fn check(root: &Node, disabled: &HashSet<String>, cx: &mut Context<'_>) {
    let known = Known {
        services: section(root, "services"),
        networks: section(root, "networks"),
        volumes: section(root, "volumes"),
        secrets: section(root, "secrets"),
        configs: section(root, "configs"),
        models: section(root, "models"),
        disabled,
    };
    let services = root.get("services").and_then(Node::as_map);
    for entry in services.unwrap_or_default() {
        let mut service = Service {
            entry,
            path: format!("services.{}", shown(&entry.key)),
            known: &known,
            cx,
        };
        service.image();
        service.networks();
        service.resources();
        service.dependencies();
        service.doubles();
        service.counts();
        service.mounts();
    }
    let secrets = root.get("secrets").and_then(Node::as_map);
    for entry in secrets.unwrap_or_default() {
        let has = |key: &str| entry.value.get(key).is_some();
        let place = cx.place(entry.spot);
        if !has("external") && !has("file") && !has("environment") && !cx.is_wrong_at(&place) {
            let path = format!("secrets.{}", shown(&entry.key));
            cx.wrong(entry.spot, &path, "needs `file` or `environment`");
        }
    }
    circles(root, cx);
}

struct Service<'n, 'c, 'e> {
    entry: &'n Entry,
    path: String,
    known: &'c Known<'n>,
    cx: &'c mut Context<'e>,
}

impl<'n> Service<'n, '_, '_> {
    fn get(&self, path: &[&str]) -> Option<&'n Node> {
        path.iter()
            .try_fold(&self.entry.value, |node, key| node.get(key))
    }

    fn wrong(&mut self, spot: Spot, key: &str, text: impl Into<String>) {
        let path = match key {
            "" => self.path.clone(),
            key => format!("{}.{key}", self.path),
        };
        self.cx.wrong(spot, &path, text);
    }

    fn missing(&mut self, spot: Spot, key: &str, kind: &str, name: &str) {
        self.wrong(spot, key, format!("there is no {kind} `{}`", shown(name)));
    }

    fn image(&mut self) {
        let build = self.get(&["build"]);
        let image = self.get(&["image"]);
        let has_none = build.is_none() && image.is_none() && self.get(&["provider"]).is_none();
        // What it has is not known where something is wrong with the service as a whole.
        if has_none && !self.cx.is_wrong_whole(&self.path, &self.entry.key) {
            let error = self.cx.invalid(
                self.entry.spot,
                &self.path,
                "has neither `image` nor `build`",
            );
            self.cx
                .push(error.hint("name the image to run with `image:`"));
        }
        let Some(build) = build else { return };
        let both = ["dockerfile", "dockerfile_inline"].map(|key| build.get(key).is_some());
        if both == [true, true] {
            let text = "`dockerfile` and `dockerfile_inline` exclude each other";
            self.wrong(build.spot, "build", text);
        }
        let contexts = build.get("additional_contexts").and_then(Node::as_map);
        for entry in contexts.unwrap_or_default() {
            let text = entry.value.as_text().unwrap_or_default();
            let Some(target) = text.strip_prefix("service:") else {
                continue;
            };
            match self.known.services.get(target) {
                None => self.missing(entry.value.spot, "build", "service", target),
                Some(other) if other.get("build").is_none() => {
                    let text = format!("the service `{}` is not built", shown(target));
                    self.wrong(entry.value.spot, "build", text);
                }
                Some(_) => {}
            }
        }
        let platform = self.get(&["platform"]).and_then(Node::as_text);
        let platforms = build.get("platforms").and_then(Node::as_list);
        if let (Some(platform), Some(platforms)) = (platform, platforms)
            && !platforms.iter().any(|one| one.as_text() == Some(platform))
        {
            let text = format!("does not hold the service's `platform` {}", shown(platform));
            self.wrong(build.spot, "build.platforms", text);
        }
    }

    fn networks(&mut self) {
        let mode = self.get(&["network_mode"]);
        let networks = self.get(&["networks"]).and_then(Node::as_map);
        let networks = networks.unwrap_or_default();
        if let Some(mode) = mode {
            if !networks.is_empty() {
                let text = "excludes `networks`";
                self.wrong(mode.spot, "network_mode", text);
            }
            let target = mode.as_text().and_then(|t| t.strip_prefix("service:"));
            if let Some(target) = target
                && !self.known.services.contains_key(target)
            {
                self.missing(mode.spot, "network_mode", "service", target);
            }
        }
        for entry in networks {
            if !self.known.networks.contains_key(&*entry.key) {
                self.missing(entry.spot, "networks", "network", &entry.key);
            }
        }
        let test = self.get(&["healthcheck", "test"]).and_then(Node::as_list);
        if let Some(first) = test.and_then(<[Node]>::first)
            && !matches!(first.as_text(), Some("CMD" | "CMD-SHELL" | "NONE"))
        {
            let text = "must start with CMD, CMD-SHELL or NONE";
            self.wrong(first.spot, "healthcheck.test", text);
        }
    }

    fn resources(&mut self) {
        for (name, spot) in mounted(&self.entry.value) {
            if !self.known.volumes.contains_key(name.as_str()) {
                let text = format!("there is no volume `{}`", shown(&name));
                let path = format!("{}.volumes", self.path);
                let error = self.cx.invalid(spot, &path, text);
                let hint = format!(
                    "add it under `volumes:` at the top, or write ./{} for a directory",
                    shown(&name)
                );
                self.cx.push(error.hint(hint));
            }
        }
        let secrets = self.known.secrets.clone();
        let configs = self.known.configs.clone();
        let grants = [
            ("secrets", "secret", self.get(&["secrets"]), &secrets),
            (
                "build.secrets",
                "secret",
                self.get(&["build", "secrets"]),
                &secrets,
            ),
            ("configs", "config", self.get(&["configs"]), &configs),
        ];
        for (key, kind, list, known) in grants {
            for (name, spot) in sources(list) {
                if name.is_empty() {
                    self.wrong(spot, key, "needs `source`");
                } else if !known.contains_key(name.as_str()) {
                    self.missing(spot, key, kind, &name);
                }
            }
        }
        let models = self.get(&["models"]).and_then(Node::as_map);
        for entry in models.unwrap_or_default() {
            if !self.known.models.contains_key(&*entry.key) {
                self.missing(entry.spot, "models", "model", &entry.key);
            }
        }
    }

    fn dependencies(&mut self) {
        let needed = self.get(&["depends_on"]).and_then(Node::as_map);
        for entry in needed.unwrap_or_default() {
            if self.known.services.contains_key(&*entry.key) {
                continue;
            }
            let optional = !entry.value.get("required").is_some_and(Node::is_true);
            let disabled = self.known.disabled.contains(&*entry.key);
            if disabled && optional {
                continue;
            }
            if !disabled {
                self.missing(entry.spot, "depends_on", "service", &entry.key);
                continue;
            }
            let name = shown(&entry.key);
            let text = format!("the service `{name}` is in no active profile");
            let path = format!("{}.depends_on", self.path);
            let error = self.cx.invalid(entry.spot, &path, text);
            let profiles = self.cx.inactive.get(&*entry.key);
            let first = profiles.and_then(|profiles| profiles.first());
            let hint = first.map(|profile| format!("`--profile {}` takes it in", shown(profile)));
            let error = hint.into_iter().fold(error, crate::Error::hint);
            self.cx.push(error);
        }
    }

    /// What can be said in two ways must be said alike.
    fn doubles(&mut self) {
        let limits = ["deploy", "resources", "limits"];
        let reserved = ["deploy", "resources", "reservations"];
        let pairs = [
            ("cpus", limits, "cpus"),
            ("mem_limit", limits, "memory"),
            ("mem_reservation", reserved, "memory"),
            ("pids_limit", limits, "pids"),
        ];
        for (key, [a, b, c], inner) in pairs {
            let (Some(short), Some(long)) = (self.get(&[key]), self.get(&[a, b, c])) else {
                continue;
            };
            if number(Some(short)) != number(long.get(inner)) {
                let text = format!("differs from `{a}.{b}.{c}.{inner}`");
                let path = format!("{}.{key}", self.path);
                let error = self.cx.invalid(short.spot, &path, text);
                self.cx.push(error.hint("keep one of the two"));
            }
        }
        let replicas = self.get(&["deploy", "replicas"]);
        if let (Some(scale), Some(replicas)) = (self.get(&["scale"]), replicas)
            && number(Some(scale)) != number(Some(replicas))
        {
            let path = format!("{}.scale", self.path);
            let error = self
                .cx
                .invalid(scale.spot, &path, "differs from `deploy.replicas`");
            self.cx.push(error.hint("keep one of the two"));
        }
    }

    fn counts(&mut self) {
        for key in [&["scale"][..], &["deploy", "replicas"]] {
            let Some(count) = self.get(key) else { continue };
            if number(Some(count)) < 0.0 {
                self.wrong(count.spot, &key.join("."), "must be 0 or more");
            }
        }
        let scale = self
            .get(&["scale"])
            .or_else(|| self.get(&["deploy", "replicas"]));
        if let (Some(scale), Some(_)) = (scale, self.get(&["container_name"]))
            && number(Some(scale)) > 1.0
        {
            let text = "more than one replica cannot have the same `container_name`";
            self.wrong(scale.spot, "", text);
        }
        let triggers = self.get(&["develop", "watch"]).and_then(Node::as_list);
        for trigger in triggers.unwrap_or_default() {
            let action = trigger.get("action").and_then(Node::as_text);
            if trigger.get("target").is_none() && !matches!(action, Some("rebuild" | "restart")) {
                self.wrong(trigger.spot, "develop.watch", "needs `target`");
            }
        }
    }

    fn mounts(&mut self) {
        let mut taken: HashSet<String> = HashSet::new();
        let tmpfs = self.get(&["tmpfs"]).and_then(Node::as_list);
        let volumes = self.get(&["volumes"]).and_then(Node::as_list);
        let memory = tmpfs.unwrap_or_default().iter().map(|item| {
            let text = item.as_text().unwrap_or_default();
            let target = text.split(':').next().unwrap_or(text);
            (target.to_owned(), item.spot, "tmpfs")
        });
        let mounts = volumes.unwrap_or_default().iter().map(|mount| {
            let target = mount.get("target").and_then(Node::as_text);
            (target.unwrap_or_default().to_owned(), mount.spot, "volumes")
        });
        for (target, spot, key) in memory.chain(mounts) {
            if taken.contains(&target) {
                let text = format!("something is mounted at {} already", shown(&target));
                self.wrong(spot, key, text);
            }
            taken.insert(target);
        }
    }
}

/// The number that a field holds, whether as a number or as a text; zero if it is absent.
fn number(node: Option<&Node>) -> f64 {
    let Some(Value::Scalar(scalar)) = node.map(|node| &node.value) else {
        return 0.0;
    };
    match scalar.meaning() {
        Plain::Int(number) => number as f64,
        Plain::Float(number) => number,
        _ => scalar.text.parse().unwrap_or(0.0),
    }
}

/// Reports services that wait for each other, without recursion: chains may be long.
fn circles(root: &Node, cx: &mut Context<'_>) {
    let services = root.get("services").and_then(Node::as_map);
    let services = services.unwrap_or_default();
    let needs: HashMap<&str, Vec<&Entry>> = services
        .iter()
        .map(|entry| {
            let needed = entry.value.get("depends_on").and_then(Node::as_map);
            (&*entry.key, needed.unwrap_or_default().iter().collect())
        })
        .collect();
    let mut done: HashSet<&str> = HashSet::new();
    for start in services {
        let mut way: Vec<(&str, usize)> = vec![(&start.key, 0)];
        let mut on_way: HashSet<&str> = HashSet::from([&*start.key]);
        while let Some((name, next)) = way.last_mut() {
            let entry = needs.get(name).and_then(|needed| needed.get(*next));
            *next += 1;
            let Some(entry) = entry.filter(|_| !done.contains(*name)) else {
                done.insert(name);
                on_way.remove(*name);
                way.pop();
                continue;
            };
            if on_way.contains(&*entry.key) {
                let from = way.iter().position(|(name, _)| *name == &*entry.key);
                let names = way[from.unwrap_or(0)..].iter().map(|(name, _)| shown(name));
                let names: Vec<String> = names.collect();
                let text = format!(
                    "dependency cycle: {} -> {}",
                    names.join(" -> "),
                    shown(&entry.key)
                );
                cx.wrong(entry.spot, "", text);
                return;
            }
            on_way.insert(&entry.key);
            way.push((&entry.key, 0));
        }
    }
}

/// Reports container names that two services have.
pub(super) fn container_names(root: &Node, cx: &mut Context<'_>) {
    let mut taken: HashMap<&str, &str> = HashMap::new();
    let services = root.get("services").and_then(Node::as_map);
    for entry in services.unwrap_or_default() {
        let Some(name) = entry.value.get("container_name") else {
            continue;
        };
        let Some(text) = name.as_text() else { continue };
        if let Some(other) = taken.insert(text, &entry.key) {
            let path = format!("services.{}.container_name", shown(&entry.key));
            let text = format!(
                "`{}` is the name of `{}` already",
                shown(text),
                shown(other)
            );
            cx.wrong(name.spot, &path, text);
        }
    }
}
