//! What one load carries along: files, environment, options, and the problems found so far.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Place};
use crate::name::VolumeName;
use crate::spec::Unhonoured;

use super::cursor::At;
use super::environment::Environment;
use super::interpolate::Scope;
use super::keys;
use super::resets::Resets;
use super::tree::{Node, Spot};
use super::{Form, Level, LoadOptions, OnUnsupported, Variable, Warning};

/// After so many errors the rest is not worth reading.
const MAX_ERRORS: usize = 100;
const MAX_WARNINGS: usize = 1000;

/// The services of a file that others extend, and what it clears.
#[derive(Debug)]
pub(super) struct Extended {
    pub(super) services: Node,
    pub(super) resets: Resets,
}

/// A file that takes part, by its number in spots.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    /// What relative paths in it start from.
    pub(super) base: PathBuf,
    /// The variables it sees.
    scope: Scope,
}

/// The state of one load.
pub(super) struct Context<'e> {
    pub(super) env: &'e Environment,
    pub(super) options: &'e LoadOptions,
    pub(super) variables: BTreeMap<String, Variable>,
    /// The path of an item of a list.
    pub(super) item: Arc<str>,
    /// What relative paths start from.
    pub(super) directory: PathBuf,
    /// How far files are resolved.
    pub(super) form: Form,
    /// How much text interpolation may still make.
    pub(super) text_left: usize,
    /// Files that services extend, by where they and their paths start.
    pub(super) extended: BTreeMap<(String, String), Option<Arc<Extended>>>,
    /// Volumes that are directories of the node by another name.
    pub(super) bound: BTreeMap<VolumeName, PathBuf>,
    /// Scalars that could not be interpolated; what is wrong with them has been said.
    pub(super) failed: HashSet<Spot>,
    /// Which variables stand at which place.
    pub(super) used: HashMap<Spot, Vec<String>>,
    /// The stack's name as a file has it.
    pub(super) written_name: Option<String>,
    /// How many errors say that things do not fit together.
    pub(super) inconsistencies: usize,
    /// Services that are not active, with the profiles they name.
    pub(super) inactive: BTreeMap<String, Vec<String>>,
    /// Services that extend what cannot be had; why has been said.
    pub(super) unextended: HashSet<String>,
    /// Addresses that the files give to services.
    pub(super) given_addresses: HashSet<String>,
    /// Where entries of lists stand that a plan may speak of, by path.
    pub(super) entries: Vec<(String, Place)>,
    /// A stack is made of it: what services cannot have at one time is left to plans.
    pub(super) is_for_stack: bool,
    /// What is valid and not honoured, until it is known whom it concerns.
    pub(super) unhonoured: Vec<(Unhonoured, Place)>,
    files: Vec<File>,
    later: Vec<Error>,
    errors: Vec<Error>,
    warnings: Vec<Warning>,
    /// What was warned of already: several files are looked at again with each one merged.
    warned: HashSet<String>,
}

impl<'e> Context<'e> {
    pub(super) fn new(env: &'e Environment, options: &'e LoadOptions, form: Form) -> Self {
        Self {
            env,
            options,
            variables: BTreeMap::new(),
            item: "[]".into(),
            directory: PathBuf::from("/"),
            form,
            text_left: 16 << 20,
            extended: BTreeMap::new(),
            bound: BTreeMap::new(),
            failed: HashSet::new(),
            used: HashMap::new(),
            written_name: None,
            inconsistencies: 0,
            inactive: BTreeMap::new(),
            unextended: HashSet::new(),
            given_addresses: HashSet::new(),
            entries: Vec::new(),
            is_for_stack: false,
            unhonoured: Vec::new(),
            files: Vec::new(),
            later: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
            warned: HashSet::new(),
        }
    }

    /// Registers a file and gives its number.
    pub(super) fn add_file(&mut self, name: &str, base: &Path, scope: &Scope) -> u32 {
        self.files.push(File {
            name: name.to_owned(),
            base: base.to_owned(),
            scope: Scope::clone(scope),
        });
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// Registers a file that holds no description, such as one of variables.
    pub(super) fn add_text_file(&mut self, name: &str) -> u32 {
        self.add_file(name, Path::new("/"), &Scope::default())
    }

    /// Gives the files so far their variables, once the stack's name is among them.
    pub(super) fn set_scopes(&mut self, scope: &Scope) {
        for file in &mut self.files {
            file.scope = Scope::clone(scope);
        }
    }

    /// A variable as the file at `spot` sees it.
    pub(super) fn variable(&self, spot: Spot, name: &str) -> Option<String> {
        self.files.get(spot.file as usize)?.scope.get(name).cloned()
    }

    /// What relative paths at `spot` start from.
    pub(super) fn base(&self, spot: Spot) -> &Path {
        self.files
            .get(spot.file as usize)
            .map_or(Path::new("/"), |file| &file.base)
    }

    pub(super) fn file_name(&self, spot: Spot) -> &str {
        self.files
            .get(spot.file as usize)
            .map_or("?", |file| &file.name)
    }

    /// Which variables stand at which place, each with where its value comes from.
    pub(super) fn uses(&self) -> HashMap<Spot, Vec<String>> {
        let said = |spot: &Spot, name: &String| {
            if self.variable(*spot, name).is_none() {
                return format!("{name} is not set");
            }
            match self.env.origins.get(name) {
                Some(place) => format!("{name} is set at {place}"),
                None => format!("{name} is set in the environment"),
            }
        };
        let used = self.used.iter();
        used.map(|(spot, names)| (*spot, names.iter().map(|name| said(spot, name)).collect()))
            .collect()
    }

    /// The names of all files, by their numbers.
    pub(super) fn file_names(&self) -> Vec<String> {
        self.files.iter().map(|file| file.name.clone()).collect()
    }

    pub(super) fn place(&self, spot: Spot) -> Place {
        Place {
            file: self.file_name(spot).to_owned(),
            line: spot.line as usize,
            column: spot.column as usize,
        }
    }

    pub(super) fn error_count(&self) -> usize {
        self.errors.len()
    }

    /// True if something is wrong at this place already.
    pub(super) fn is_wrong_at(&self, place: &Place) -> bool {
        self.errors
            .iter()
            .any(|error| error.places().contains(place))
    }

    /// True if an error says just this.
    pub(super) fn is_said(&self, message: &str) -> bool {
        self.errors.iter().any(|error| error.message() == message)
    }

    /// True if something is wrong with a service as a whole, at this path and of this name.
    pub(super) fn is_wrong_whole(&self, path: &str, name: &str) -> bool {
        let mut subjects = self.errors.iter().filter_map(Error::subject);
        self.unextended.contains(name) || subjects.any(|subject| subject == path)
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Adds an error that is complete already.
    pub(super) fn push(&mut self, error: Error) {
        // Several files are looked at again with each one that is merged onto them.
        let same = |old: &Error| old.places() == error.places() && old.message() == error.message();
        if self.errors.len() < MAX_ERRORS && !self.errors.iter().any(same) {
            self.errors.push(error);
        }
    }

    /// The file is wrong at this spot.
    pub(super) fn wrong(&mut self, spot: Spot, subject: &str, text: impl Into<String>) {
        let error = self.invalid(spot, subject, text);
        self.push(error);
    }

    /// What is valid for docker compose and cannot be meant: an error once a stack is made of it,
    /// a warning before.
    pub(super) fn refuse_later(&mut self, (spot, path): (Spot, &str), text: String, why: &str) {
        let error = self.invalid(spot, path, text.as_str()).hint(why);
        self.later.push(error);
        self.warn_spot(spot, path.to_owned(), Level::Trap, format!("{text}: {why}"));
    }

    /// Makes errors of what was put off.
    pub(super) fn refuse_now(&mut self) {
        for error in std::mem::take(&mut self.later) {
            self.push(error);
        }
    }

    /// An error about this spot, for whoever adds a hint to it.
    pub(super) fn invalid(&self, spot: Spot, subject: &str, text: impl Into<String>) -> Error {
        let error = Error::new(ErrorKind::InvalidSpec, text).at(self.place(spot));
        if subject.is_empty() {
            error
        } else {
            error.on(subject)
        }
    }

    /// The field's value is wrong.
    pub(super) fn error(&mut self, at: &At<'_>, text: impl Into<String>) {
        if !self.failed.contains(&at.node.spot) {
            self.wrong(at.spot(), &at.path(), text);
        }
    }

    /// The field's value is wrong, and this is what to do.
    pub(super) fn error_hint(
        &mut self,
        at: &At<'_>,
        text: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if !self.failed.contains(&at.node.spot) {
            let error = self.invalid(at.spot(), &at.path(), text).hint(hint);
            self.push(error);
        }
    }

    /// The field is valid, but leaving it out would make the service something else.
    pub(super) fn unsupported(&mut self, at: &At<'_>, consequence: &str, instead: &str) {
        if self.options.unsupported == OnUnsupported::Warn {
            self.tell(Warning {
                place: Some(self.place(at.spot())),
                field: at.path(),
                level: Level::Gap,
                text: consequence.to_owned(),
                instead: instead.to_owned(),
            });
            return;
        }
        let found = Unhonoured {
            field: at.path(),
            consequence: consequence.to_owned(),
            instead: instead.to_owned(),
        };
        let place = self.place(at.spot());
        self.unhonoured.push((found, place));
    }

    /// Keeps the warnings that this is true of.
    pub(super) fn retain_warnings(&mut self, is_kept: impl FnMut(&Warning) -> bool) {
        self.warnings.retain(is_kept);
    }

    pub(super) fn warn(&mut self, at: &At<'_>, level: Level, text: impl Into<String>) {
        self.warn_spot(at.spot(), at.path(), level, text);
    }

    pub(super) fn warn_spot(
        &mut self,
        spot: Spot,
        field: String,
        level: Level,
        text: impl Into<String>,
    ) {
        self.tell(Warning {
            place: Some(self.place(spot)),
            field,
            level,
            text: text.into(),
            instead: String::new(),
        });
    }

    fn tell(&mut self, warning: Warning) {
        // What would be refused is never dropped: a check must not say less than a plan.
        let has_room = self.warnings.len() < MAX_WARNINGS || warning.level == Level::Gap;
        if has_room && self.warned.insert(warning.to_string()) {
            self.warnings.push(warning);
        }
    }

    /// Warns of a variable that has no value where a file sets one that is nearly called the same
    /// and that nothing uses. What is merely not used may be meant for others, and is not told.
    fn warn_of_slips(&mut self) {
        let lower = |name: &str| name.to_ascii_lowercase();
        let unused = self.env.origins.iter();
        let unused = unused.filter(|(name, _)| !self.variables.contains_key(*name));
        let unused: BTreeMap<String, (&String, &Place)> = unused
            .map(|(name, place)| (lower(name), (name, place)))
            .collect();
        let known: Vec<&str> = unused.keys().map(String::as_str).collect();
        let mut slips = Vec::new();
        for (name, variable) in self
            .variables
            .iter()
            .filter(|(_, variable)| variable.warned)
        {
            let near = keys::nearest(&lower(name), &known).and_then(|near| unused.get(near));
            if let Some((near, place)) = near {
                let text = format!("did you mean {near}, which {place} sets and nothing uses?");
                slips.push(Warning {
                    place: Some(variable.place.clone()),
                    field: String::new(),
                    level: Level::Trap,
                    text: format!("the variable {name} is not set: {text}"),
                    instead: String::new(),
                });
            }
        }
        self.warnings.extend(slips);
    }

    /// All that was found, each in the order of the files.
    pub(super) fn into_findings(
        mut self,
    ) -> (Vec<Error>, Vec<Warning>, BTreeMap<String, Variable>) {
        self.warn_of_slips();
        for (name, place) in &self.env.unset {
            self.warnings.push(Warning {
                place: Some(place.clone()),
                field: String::new(),
                level: Level::Trap,
                text: not_set(name),
                instead: String::new(),
            });
        }
        let (files, mut errors, mut warnings) = (self.files, self.errors, self.warnings);
        let order = |place: Option<&Place>| {
            let place = place?;
            let file = files.iter().position(|file| file.name == place.file);
            Some((file, place.line, place.column))
        };
        errors.sort_by_key(|error| order(error.places().first()));
        warnings.sort_by_key(|warning| order(warning.place.as_ref()));
        (errors, warnings, self.variables)
    }
}

/// What is to be known of a variable that a text names and that has no value.
pub(super) fn not_set(name: &str) -> String {
    format!("the variable {name} is not set, an empty text stands in its place")
}
