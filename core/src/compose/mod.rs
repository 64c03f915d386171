//! Compose files become a [`Stack`](crate::spec::Stack): every error with its place, nothing
//! dropped in silence.
//!
//! [`load`] is pure: files, variables and options come in as values. [`read`](read()) is its
//! front, which finds and reads the files. Inside, each step has its own file: YAML → tree
//! (`yaml`), variables (`interpolate`), further files (`include`, `extends`), several files
//! (`merge`), tree → model (`lower`).
//!
//! What docker compose accepts is accepted, and means the same. What cannot be honoured is an
//! error of kind [`Unsupported`](crate::ErrorKind::Unsupported) where leaving it out would make
//! the service something else, and a [`Warning`] where it would not.
//!
//! ```
//! use unmoor_core::compose::{Environment, LoadOptions, Source, load};
//! let file = Source::new("compose.yaml", "services:\n  web:\n    image: nginx:${TAG:-1.27}\n")
//!     .directory("/srv/shop");
//! let loaded = load(&[file], &Environment::new(), &LoadOptions::default())?;
//! assert_eq!(loaded.stack.name.as_str(), "shop");
//! # Ok::<(), unmoor_core::compose::LoadErrors>(())
//! ```

mod assemble;
mod context;
mod cursor;
mod document;
mod dotenv;
mod environment;
mod extends;
mod format;
mod gotext;
mod include;
mod interpolate;
mod keys;
mod lower;
mod merge;
mod normal;
mod outcome;
mod place;
mod print;
mod reach;
mod read;
mod render;
mod resets;
mod scalar;
mod template;
mod text;
mod tree;
mod verdict;
mod yaml;

use std::path::PathBuf;

pub use document::{Document, Explanation, TemplateVariable};
pub use environment::{Environment, Files, NoFiles};
pub use outcome::{Level, LoadErrors, Loaded, Variable, Warning};
pub use read::{Input, ReadRequest, read};
pub use render::{to_json, to_yaml};
pub use verdict::{Judgement, Verdict};

use crate::Place;
use crate::plan::Scope;

use context::Context;

/// A Compose file as a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Source {
    /// What messages call it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The absolute path of the directory it stands in.
    pub directory: PathBuf,
}

impl Source {
    /// A file in the root directory.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            directory: PathBuf::from("/"),
        }
    }

    /// Sets the directory it stands in, as an absolute path.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// The line at a place with a mark under it, if the place is in this file.
    ///
    /// ```
    /// # use unmoor_core::{Place, compose::Source};
    /// let file = Source::new("c.yaml", "services:\n  prots: 1\n");
    /// let place = Place { file: "c.yaml".into(), line: 2, column: 3 };
    /// assert_eq!(file.excerpt(&place).as_deref(), Some("2 |   prots: 1\n  |   ^"));
    /// ```
    #[must_use]
    pub fn excerpt(&self, place: &Place) -> Option<String> {
        const WIDEST: usize = 160;
        if place.file != self.name {
            return None;
        }
        let line = self.text.lines().nth(place.line.checked_sub(1)?)?;
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let column = place.column.max(1);
        // Of a long line the part around the column.
        let cut = match column > WIDEST {
            true => column - WIDEST / 2,
            false => 0,
        };
        let line: String = line.chars().skip(cut).take(WIDEST).map(printable).collect();
        let number = place.line.to_string();
        let (gap, mark) = (number.len(), column - cut);
        Some(format!("{number} | {line}\n{:gap$} | {:>mark$}", "", "^"))
    }
}

/// What happens to what is valid but cannot be honoured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnUnsupported {
    /// It is an error if leaving it out would make the service something else.
    #[default]
    Refuse,
    /// It is a warning, and left out.
    Warn,
}

/// How to load.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// The stack's name, over what the files and the environment say.
    pub name: Option<String>,
    /// What relative paths start from; default: the directory of the first file.
    pub project_directory: Option<PathBuf>,
    /// Active profiles; `*` is all of them.
    pub profiles: Vec<String>,
    /// Services that are active whatever their profiles, because the caller names them; their
    /// profiles are active for all.
    pub services: Vec<String>,
    /// What happens to what cannot be honoured.
    pub unsupported: OnUnsupported,
    /// Which services are meant: what cannot be honoured of others is neither refused nor told, and
    /// a plan that would run them refuses it then.
    pub about: Scope,
    /// Refuses other programs' keys, as docker compose does.
    pub strict: bool,
    /// Only these services and what they need; empty is all.
    pub only: Vec<String>,
    /// Networks, volumes and the like stay that no service uses.
    pub all_resources: bool,
}

/// How far files are resolved; `docker compose config` has a flag for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Form {
    /// Variables are replaced; without it the merged files are shown as they are written.
    pub interpolate: bool,
    /// What the format takes for granted is filled in.
    pub normalize: bool,
    /// Relative paths become whole ones.
    pub paths: bool,
    /// What does not fit together is an error.
    pub consistency: bool,
    /// Files of variables are read.
    pub environment: bool,
}

impl Default for Form {
    /// Everything.
    fn default() -> Self {
        Self {
            interpolate: true,
            normalize: true,
            paths: true,
            consistency: true,
            environment: true,
        }
    }
}

impl LoadOptions {
    /// Sets the stack's name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets what relative paths start from, as an absolute path.
    #[must_use]
    pub fn project_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.project_directory = Some(directory.into());
        self
    }

    /// Activates a profile.
    #[must_use]
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profiles.push(profile.into());
        self
    }

    /// Makes a service active whatever its profiles.
    #[must_use]
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.services.push(service.into());
        self
    }

    /// Limits what is refused and told to what of the stack is meant.
    #[must_use]
    pub fn about(mut self, scope: Scope) -> Self {
        self.about = scope;
        self
    }

    /// Sets what happens to what cannot be honoured.
    #[must_use]
    pub fn unsupported(mut self, policy: OnUnsupported) -> Self {
        self.unsupported = policy;
        self
    }
}

/// Makes a stack of Compose files; later files override earlier ones.
///
/// Further files are read only through [`Environment::files`].
///
/// # Errors
/// [`LoadErrors`] holds all that was found: `InvalidSpec` with places for what is wrong,
/// `Unsupported` for what cannot be honoured of the services that are meant.
pub fn load(
    sources: &[Source],
    env: &Environment,
    options: &LoadOptions,
) -> Result<Loaded, LoadErrors> {
    let mut cx = Context::new(env, options, Form::default());
    cx.is_for_stack = true;
    let stack = assemble::assemble(sources, &mut cx).map(|mut assembled| {
        assembled.root = normal::document(&assembled, &mut cx);
        cx.refuse_now();
        let mut stack = lower::stack(&assembled, &mut cx);
        reach::settle(&mut stack, &mut cx);
        stack.places = place::all(&assembled.root, &mut cx);
        place::check(&stack, &assembled.root, &mut cx);
        (stack, assembled.directory)
    });
    let failed = cx.has_errors();
    let inactive = std::mem::take(&mut cx.inactive);
    let (errors, warnings, variables) = cx.into_findings();
    let loaded = stack.map(|(stack, directory)| Loaded {
        stack,
        warnings: warnings.clone(),
        variables,
        inactive,
        directory,
        about: options.about.clone(),
    });
    match loaded {
        Some(loaded) if !failed => Ok(loaded),
        partial => Err(LoadErrors {
            errors,
            warnings,
            partial: partial.map(Box::new),
        }),
    }
}

/// Every key that a service may have, in the order of printing.
pub fn service_keys() -> impl Iterator<Item = &'static str> {
    format::service_keys()
}

/// Makes the normal document of Compose files, as `docker compose config` does: what is valid is
/// what docker compose takes, whether or not a backend can honour it.
///
/// # Errors
/// [`LoadErrors`] holds all that was found.
pub fn document(
    sources: &[Source],
    env: &Environment,
    options: &LoadOptions,
    form: Form,
) -> Result<Document, LoadErrors> {
    let mut cx = Context::new(env, options, form);
    let found = assemble::assemble(sources, &mut cx).map(|mut assembled| {
        assembled.root = normal::document(&assembled, &mut cx);
        assembled
    });
    match found {
        Some(assembled) if !cx.has_errors() => Ok(Document::new(assembled, cx)),
        _ => {
            let (errors, warnings, _) = cx.into_findings();
            Err(LoadErrors {
                errors,
                warnings,
                partial: None,
            })
        }
    }
}
