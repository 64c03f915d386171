//! Flags of docker compose that cannot do here what they say: refused with the reason.

use unmoor::compose::Form;
use unmoor::name::ServiceName;
use unmoor::{Error, ErrorKind};

use crate::app::App;
use crate::exit::Failure;
use crate::project;

/// The refusal of a flag: what it would have to do, and what to do instead.
pub(crate) fn refused(flag: &str, why: &str, instead: &str) -> Failure {
    let error = Error::new(ErrorKind::Unsupported, format!("{flag}: {why}"));
    error.hint(instead).into()
}

/// Flags about images that are built.
#[derive(Debug, clap::Args)]
pub(crate) struct Building {
    /// Build images first; refused where a service has `build:`, because nothing builds yet
    #[arg(long, conflicts_with = "no_build", hide_short_help = true)]
    build: bool,
    /// Build no image; none is ever built
    #[arg(long, hide_short_help = true)]
    no_build: bool,
    /// Show no progress of builds; there never is any
    #[arg(long, hide_short_help = true)]
    quiet_build: bool,
}

impl Building {
    /// Refuses what would need a build.
    pub(crate) fn refuse(&self, app: &App, named: &[ServiceName]) -> Result<(), Failure> {
        match self.build {
            true => builds(app, named, "--build"),
            false => Ok(()),
        }
    }
}

/// Services of the files that have `build:`.
pub(crate) fn buildable(app: &App) -> Result<Vec<ServiceName>, Failure> {
    let mut input = project::input(&app.globals)?;
    input.options.profiles.push("*".to_owned());
    let document = input.document(Form::default())?.to_value();
    let services = document["services"].as_object().into_iter().flatten();
    let built = services.filter(|(_, service)| !service["build"].is_null());
    Ok(built
        .filter_map(|(name, _)| ServiceName::parse(name).ok())
        .collect())
}

/// Refuses to build; nothing is to be done where none of these services, or of all, has `build:`.
pub(crate) fn builds(app: &App, named: &[ServiceName], what: &str) -> Result<(), Failure> {
    let mut input = project::input(&app.globals)?;
    input.options.services = named.iter().map(ToString::to_string).collect();
    input.options.only.clone_from(&input.options.services);
    let document = input.document(Form::default())?.to_value();
    let services = document["services"].as_object().into_iter().flatten();
    let mut built = services.filter(|(_, service)| !service["build"].is_null());
    let Some((name, _)) = built.next() else {
        return Ok(());
    };
    let why = format!("`{name}` has `build:`, and images are not built yet");
    let instead = "build it elsewhere, and bring it with `unmoor image load` or `unmoor pull`";
    Err(refused(what, &why, instead))
}

/// True if a variable is set to what docker compose takes for yes.
pub(crate) fn is_true(variable: &str) -> bool {
    let text = std::env::var(variable).unwrap_or_default();
    matches!(
        text.to_ascii_lowercase().as_str(),
        "1" | "t" | "true" | "y" | "yes" | "on"
    )
}
