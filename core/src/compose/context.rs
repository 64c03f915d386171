//! What one load carries along: files, environment, options, and the problems found so far.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Place};
use crate::name::VolumeName;

use super::cursor::At;
use super::environment::Environment;
use super::interpolate::Scope;
use super::tree::{Node, Spot};
use super::{Level, LoadOptions, OnUnsupported, Variable, Warning};

/// After so many errors the rest is not worth reading.
const MAX_ERRORS: usize = 100;
const MAX_WARNINGS: usize = 1000;

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
    /// How much text interpolation may still make.
    pub(super) text_left: usize,
    /// Files that services extend, by path.
    pub(super) extended: BTreeMap<PathBuf, Option<Node>>,
    /// Volumes that are directories of the node by another name.
    pub(super) bound: BTreeMap<VolumeName, PathBuf>,
    /// Scalars that could not be interpolated; what is wrong with them has been said.
    pub(super) failed: Vec<Spot>,
    files: Vec<File>,
    errors: Vec<Error>,
    warnings: Vec<Warning>,
}

impl<'e> Context<'e> {
    pub(super) fn new(env: &'e Environment, options: &'e LoadOptions) -> Self {
        Self {
            env,
            options,
            variables: BTreeMap::new(),
            text_left: 16 << 20,
            extended: BTreeMap::new(),
            bound: BTreeMap::new(),
            failed: Vec::new(),
            files: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
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

    pub(super) fn place(&self, spot: Spot) -> Place {
        Place {
            file: self.file_name(spot).to_owned(),
            line: spot.line as usize,
            column: spot.column as usize,
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Adds an error that is complete already.
    pub(super) fn push(&mut self, error: Error) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
    }

    /// The file is wrong at this spot.
    pub(super) fn wrong(&mut self, spot: Spot, subject: &str, text: impl Into<String>) {
        let error = self.invalid(spot, subject, text);
        self.push(error);
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
            self.warn(at, Level::Ignored, consequence);
            return;
        }
        let mut error = Error::new(ErrorKind::Unsupported, consequence)
            .on(at.path())
            .at(self.place(at.spot()));
        if !instead.is_empty() {
            error = error.hint(instead);
        }
        self.push(error);
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
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(Warning {
                place: Some(self.place(spot)),
                field,
                level,
                text: text.into(),
            });
        }
    }

    /// How many findings there are, to forget later ones with [`Context::forget_unhonoured`].
    pub(super) fn findings(&self) -> (usize, usize) {
        (self.errors.len(), self.warnings.len())
    }

    /// Drops what was found unhonoured after `since`: it was about what is left out.
    pub(super) fn forget_unhonoured(&mut self, since: (usize, usize)) {
        let later = self.errors.split_off(since.0.min(self.errors.len()));
        let wrong = later
            .into_iter()
            .filter(|error| error.kind() != ErrorKind::Unsupported);
        self.errors.extend(wrong);
        self.warnings.truncate(since.1);
    }

    /// Drops what was found unhonoured about a network, volume, … that is left out.
    pub(super) fn forget_about(&mut self, kind: &str, name: &str) {
        let path = format!("{kind}.{name}");
        let within = |field: &str| {
            let tail = field.strip_prefix(path.as_str());
            tail.is_some_and(|tail| tail.is_empty() || tail.starts_with('.'))
        };
        self.errors.retain(|error| {
            error.kind() != ErrorKind::Unsupported || !error.subject().is_some_and(within)
        });
        self.warnings.retain(|warning| !within(&warning.field));
    }

    /// All that was found, each in the order of the files.
    pub(super) fn into_findings(self) -> (Vec<Error>, Vec<Warning>, BTreeMap<String, Variable>) {
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
