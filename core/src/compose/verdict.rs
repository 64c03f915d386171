//! What becomes of each field of a file on a backend, by the same facts that a plan is refused by.

use std::collections::BTreeSet;
use std::fmt;

use crate::backend::{Capabilities, Feature, Support};
use crate::error::Place;
use crate::plan::{Scope, fields};

use super::outcome::{Level, Loaded};
use super::reach::is_meant;

/// How far a field is honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Judgement {
    /// As docker compose does.
    Exact,
    /// As docker compose does, by other means.
    Emulated,
    /// Within a limit.
    Limited,
    /// Not; the service runs, but not quite so.
    Ignored,
    /// Not; a plan is refused unless gaps are allowed.
    Refused,
}

impl Judgement {
    /// The judgement in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Emulated => "emulated",
            Self::Limited => "limited",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What becomes of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// The field, as `services.web.logging`.
    pub field: String,
    /// How far it is honoured.
    pub judgement: Judgement,
    /// The feature of the backend that decides; `None` if none does.
    pub feature: Option<Feature>,
    /// What follows; may be empty.
    pub remark: String,
    /// What to write instead; may be empty.
    pub instead: String,
    /// Where it stands.
    pub place: Option<Place>,
}

impl Loaded {
    /// What becomes of every field that the files set, on a backend with these capabilities.
    ///
    /// Load with [`OnUnsupported::Warn`](super::OnUnsupported::Warn), or what would be refused is an
    /// error of the load. A field is `Refused` here if and only if a plan of what is meant of the
    /// stack is refused because of it.
    #[must_use]
    pub fn verdicts(&self, capabilities: &Capabilities) -> Vec<Verdict> {
        let mut found: Vec<Verdict> = Vec::new();
        for warning in &self.warnings {
            let judgement = match warning.level {
                Level::Note => Judgement::Exact,
                Level::Ignored => Judgement::Ignored,
                Level::Gap => Judgement::Refused,
                // It is honoured, and means something else than it may seem to.
                Level::Trap => continue,
            };
            found.push(Verdict {
                field: warning.field.clone(),
                judgement,
                feature: None,
                remark: warning.text.clone(),
                instead: warning.instead.clone(),
                place: warning.place.clone(),
            });
        }
        let none = String::new;
        for field in fields(&self.stack, capabilities, &self.about) {
            let (judgement, remark, instead) = match field.support {
                Support::Native | Support::Injected => (Judgement::Exact, none(), none()),
                Support::Emulated => (Judgement::Emulated, none(), none()),
                Support::Limited(limit) => (Judgement::Limited, limit, none()),
                Support::Unsupported(hint) => {
                    (Judgement::Refused, "is not possible here".to_owned(), hint)
                }
            };
            found.push(Verdict {
                field: field.path,
                judgement,
                feature: Some(field.feature),
                remark,
                instead,
                place: field.place,
            });
        }
        self.clashes(&mut found);
        self.exact(&mut found);
        found
    }

    /// Adds what services cannot have that would run beside each other.
    fn clashes(&self, found: &mut Vec<Verdict>) {
        let start = self.about.runs(&self.stack);
        for error in self.stack.clashes(&start, &BTreeSet::new()) {
            let field = error.subject().unwrap_or_default().to_owned();
            // Whatever else is to be said of it, a plan is refused for this.
            found.retain(|other| other.field != field);
            found.push(Verdict {
                field,
                judgement: Judgement::Refused,
                feature: None,
                remark: error.message().to_owned(),
                instead: "run one of the two, by its name".to_owned(),
                place: error.places().first().cloned(),
            });
        }
    }

    /// Adds the keys that nothing was said about: they are honoured, whatever the backend.
    fn exact(&self, found: &mut Vec<Verdict>) {
        let mut said: BTreeSet<String> = BTreeSet::new();
        for verdict in found.iter() {
            let mut path = verdict.field.as_str();
            while said.insert(path.to_owned()) {
                let Some(end) = path.rfind(['.', '[']) else {
                    break;
                };
                path = &path[..end];
            }
        }
        let places = &self.stack.places;
        let services = self.stack.services.keys().flat_map(|name| {
            let prefix = format!("services.{name}.");
            let start = prefix.len();
            let under = places.under(prefix);
            under.filter(move |(path, _)| !path[start..].contains(['.', '[']))
        });
        let others = places.iter().filter(|(path, _)| is_key(path));
        let reach = (self.about != Scope::All).then(|| self.about.runs(&self.stack));
        let rest = services.chain(others).filter(|(path, _)| {
            !said.contains(*path) && is_meant(path, &self.stack, reach.as_ref())
        });
        let rest: Vec<Verdict> = rest
            .map(|(path, place)| Verdict {
                field: path.to_owned(),
                judgement: Judgement::Exact,
                feature: None,
                remark: String::new(),
                instead: String::new(),
                place: Some(place.clone()),
            })
            .collect();
        found.extend(rest);
    }
}

/// True for a key of a network, volume, secret or config, and for a top-level one without parts.
fn is_key(path: &str) -> bool {
    const PARTED: [&str; 5] = ["networks", "volumes", "secrets", "configs", "models"];
    let parts: Vec<&str> = path.split('.').collect();
    match parts[..] {
        [only] => only != "services" && !PARTED.contains(&only),
        [first, _, _] => PARTED.contains(&first),
        _ => false,
    }
}
