//! The normal document and what can be asked of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::Place;
use crate::name::StackName;

use super::assemble::Assembled;
use super::context::Context;
use super::print::{self, Shown};
use super::render::yaml;
use super::scalar::Plain;
use super::text::shown;
use super::tree::{Entry, Node, Spot, Tag, Value as Tree};
use super::{Form, Variable, Warning};

/// Compose files in one form: merged, resolved, long, complete; what `docker compose config`
/// shows.
#[derive(Debug, Clone)]
pub struct Document {
    /// What to know about the files.
    pub warnings: Vec<Warning>,
    /// The variables that the files use.
    pub variables: BTreeMap<String, Variable>,
    name: StackName,
    directory: PathBuf,
    root: Node,
    form: Form,
    files: Vec<String>,
    environment: BTreeMap<String, String>,
    disabled_profiles: Vec<String>,
    /// Services that are shown, as they are written, though none of their profiles is active.
    inactive: BTreeSet<String>,
    uses: HashMap<Spot, Vec<String>>,
}

/// Where a value of a document comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The field, as `services.web.image`.
    pub field: String,
    /// The value, on one line.
    pub value: String,
    /// Where it stands; `None` if no file says it.
    pub place: Option<Place>,
    /// It is filled in by docker compose's rules, for what stands at the place.
    pub is_default: bool,
    /// The variables in it, each with where its value comes from.
    pub variables: Vec<String>,
}

/// A variable that the files use, as `--variables` lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TemplateVariable {
    /// The text that stands in if it has no value.
    pub default: String,
    /// The text that stands in if it has one.
    pub alternative: String,
    /// The file demands that it has a value.
    pub is_required: bool,
}

impl Document {
    pub(super) fn new(assembled: Assembled, cx: Context<'_>) -> Self {
        let form = cx.form;
        let disabled_profiles = cx.inactive.values().flatten().cloned().collect();
        let files = cx.file_names();
        let uses = cx.uses();
        let inactive = super::normal::inactive(&assembled.root, &cx);
        let (_, warnings, variables) = cx.into_findings();
        Self {
            warnings,
            variables,
            name: assembled.name,
            directory: assembled.directory,
            root: assembled.root,
            form,
            files,
            environment: BTreeMap::clone(&assembled.scope),
            disabled_profiles,
            inactive,
            uses,
        }
    }

    /// The stack's name.
    #[must_use]
    pub fn name(&self) -> &StackName {
        &self.name
    }

    /// What relative paths start from.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The variables that the files see.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    fn shown(&self, shown: Shown) -> Value {
        match self.form.interpolate {
            true => print::value(&self.root, shown),
            false => print::value(&self.root, Shown::Raw),
        }
    }

    /// The document as a value; a dollar sign stands there once.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.shown(Shown::Json)
    }

    /// The document as JSON text, as docker compose prints it, with dollar signs doubled so that
    /// it can be read again.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.doubled(print::json(&self.shown(Shown::Json)))
    }

    /// The document as YAML text, with dollar signs doubled so that it can be read again.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        self.doubled(yaml::print(&self.shown(Shown::Yaml)))
    }

    fn doubled(&self, text: String) -> String {
        match self.form.interpolate && text.contains('$') {
            true => text.replace('$', "$$"),
            false => text,
        }
    }

    fn section(&self, key: &str) -> &[Entry] {
        let section = self.root.get(key).and_then(Node::as_map);
        section.unwrap_or_default()
    }

    fn names(&self, section: &str) -> Vec<String> {
        let names = self.section(section).iter().map(|e| e.key.to_string());
        let names: BTreeSet<String> = names.collect();
        names.into_iter().collect()
    }

    /// The names of the services, each behind those it depends on.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let mut order = Vec::new();
        let mut open: Vec<(String, bool)> = self
            .names("services")
            .into_iter()
            .rev()
            .map(|name| (name, false))
            .collect();
        let mut seen = BTreeSet::new();
        let services: BTreeMap<&str, &Node> = self
            .section("services")
            .iter()
            .map(|entry| (&*entry.key, &entry.value))
            .collect();
        while let Some((name, is_done)) = open.pop() {
            if is_done {
                order.push(name);
                continue;
            }
            let Some(service) = services.get(name.as_str()) else {
                continue;
            };
            if !seen.insert(name.clone()) {
                continue;
            }
            open.push((name, true));
            let needed = service.get("depends_on").and_then(Node::as_map);
            let needed = needed.unwrap_or_default().iter().rev();
            open.extend(needed.map(|entry| (entry.key.to_string(), false)));
        }
        order
    }

    /// The names of the volumes.
    #[must_use]
    pub fn volumes(&self) -> Vec<String> {
        self.names("volumes")
    }

    /// The names of the networks.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        self.names("networks")
    }

    /// The models that services call.
    #[must_use]
    pub fn models(&self) -> Vec<String> {
        let models = self.section("models").iter();
        let names = models.filter_map(|e| e.value.get("model").and_then(Node::as_text));
        names.map(str::to_owned).collect()
    }

    /// The image of each service, or what it is called once it is built.
    #[must_use]
    pub fn images(&self) -> Vec<String> {
        let services = self.section("services").iter();
        let services = services.filter(|entry| !self.inactive.contains(&*entry.key));
        let image = |entry: &Entry| match entry.value.get("image").and_then(Node::as_text) {
            Some(image) => image.to_owned(),
            None => format!("{}-{}", self.name, entry.key),
        };
        services.map(image).collect()
    }

    /// Every profile that a service names, active or not.
    #[must_use]
    pub fn profiles(&self) -> Vec<String> {
        let services = self.section("services").iter();
        let active = services.flat_map(|entry| super::normal::profiles(&entry.value));
        let all: BTreeSet<String> = active
            .chain(self.disabled_profiles.iter().cloned())
            .collect();
        all.into_iter().collect()
    }

    /// A fingerprint of each service's settings, as docker compose makes it.
    #[must_use]
    pub fn hashes(&self) -> BTreeMap<String, String> {
        let services = self.section("services").iter();
        let hash = |entry: &Entry| {
            let mut service = entry.value.clone();
            // What changes nothing about a container that runs already.
            for key in ["build", "pull_policy", "scale", "depends_on", "profiles"] {
                service.take(key);
            }
            if let Some(deploy) = service.get_mut("deploy") {
                deploy.take("replicas");
            }
            let text = print::compact(&print::service(&service));
            let mut hex = String::with_capacity(64);
            for byte in Sha256::digest(text.as_bytes()) {
                write!(hex, "{byte:02x}").expect("a string takes any text");
            }
            (entry.key.to_string(), hex)
        };
        services.map(hash).collect()
    }

    /// The variables of a document that is not interpolated.
    #[must_use]
    pub fn template_variables(&self) -> BTreeMap<String, TemplateVariable> {
        let mut found = BTreeMap::new();
        templates(&self.root, &mut found);
        found
    }

    /// Where each value at `field` comes from, and below it; a field is a path such as
    /// `services.web.environment` or `services.web.ports[0].target`, and `*` is any key or entry.
    #[must_use]
    pub fn explain(&self, field: &str) -> Vec<Explanation> {
        let mut found = Vec::new();
        let wanted = parts(field);
        self.search(&self.root, &wanted, &mut String::new(), &mut found);
        found
    }

    fn search(
        &self,
        node: &Node,
        wanted: &[&str],
        path: &mut String,
        found: &mut Vec<Explanation>,
    ) {
        let entries = match (&node.value, wanted) {
            (Tree::Map(entries), _) => entries,
            (Tree::List(items), [which, rest @ ..]) => {
                let length = path.len();
                for (index, item) in items.iter().enumerate().filter(|(at, _)| names(which, *at)) {
                    let _ = write!(path, "[{index}]");
                    self.search(item, rest, path, found);
                    path.truncate(length);
                }
                return;
            }
            (_, []) => return self.leaf(node, path, found),
            _ => return,
        };
        if entries.is_empty() && wanted.is_empty() {
            self.leaf(node, path, found);
        }
        for entry in entries {
            // Names may hold dots: as many parts as the key has must match.
            let parts = parts(&entry.key).len();
            let rest = match wanted {
                [] => &[][..],
                ["*", rest @ ..] => rest,
                _ if wanted.len() >= parts && is_key(&wanted[..parts], &entry.key) => {
                    &wanted[parts..]
                }
                _ => continue,
            };
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&shown(&entry.key));
            self.search(&entry.value, rest, path, found);
            path.truncate(length);
        }
    }

    fn leaf(&self, node: &Node, path: &str, found: &mut Vec<Explanation>) {
        if let Tree::List(items) = &node.value
            && !items.is_empty()
        {
            for (index, item) in items.iter().enumerate() {
                let mut path = format!("{path}[{index}]");
                self.search(item, &[], &mut path, found);
            }
            return;
        }
        let name = self.files.get(node.spot.file as usize);
        found.push(Explanation {
            field: path.to_owned(),
            value: match &node.value {
                Tree::Scalar(scalar) if scalar.meaning() == Plain::Null => "null".to_owned(),
                Tree::Scalar(scalar) => shown(&scalar.text),
                Tree::List(_) => "[]".to_owned(),
                Tree::Map(_) => "{}".to_owned(),
            },
            place: name.map(|name| Place {
                file: name.clone(),
                line: node.spot.line as usize,
                column: node.spot.column as usize,
            }),
            is_default: node.tag == Tag::Default,
            variables: self.uses.get(&node.spot).cloned().unwrap_or_default(),
        });
    }
}

/// The parts of a path: names, and entries of lists as `[0]`.
fn parts(path: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let name = part.find('[').unwrap_or(part.len());
        found.extend(Some(&part[..name]).filter(|name| !name.is_empty()));
        found.extend(part[name..].split_inclusive(']'));
    }
    found
}

/// True if these parts are those of the key.
fn is_key(wanted: &[&str], key: &str) -> bool {
    parts(key) == wanted
}

/// True if a part of a path names the entry of a list: `[0]`, `0` or `*`.
fn names(part: &str, at: usize) -> bool {
    let bare = part
        .strip_prefix('[')
        .and_then(|part| part.strip_suffix(']'));
    let bare = bare.unwrap_or(part);
    bare == "*" || bare.parse() == Ok(at)
}

/// Adds the variables of every text below `node`.
fn templates(node: &Node, found: &mut BTreeMap<String, TemplateVariable>) {
    match &node.value {
        Tree::Scalar(scalar) if scalar.meaning() == Plain::Text => {
            super::template::variables(&scalar.text, found);
        }
        Tree::Scalar(_) => {}
        Tree::List(items) => items.iter().for_each(|item| templates(item, found)),
        Tree::Map(entries) => entries.iter().for_each(|e| templates(&e.value, found)),
    }
}
