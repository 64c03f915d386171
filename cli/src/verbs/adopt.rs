//! `adopt`: what is there and not ours becomes a part of the stack, as it runs.

use unmoor::client::{AdoptOptions, AdoptTarget, UpOptions};
use unmoor::name::{NetworkName, ServiceName, VolumeName};

use crate::app::App;
use crate::change::{Pulls, by_plan};
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// Take over what is there and was not made by us; nothing is stopped or started.
///
/// What it is called says to which stack it belongs; `ls --all` shows it. Without names, all of the
/// stack's. A service brings the networks and volumes that it needs. The next `up` with a file
/// changes what was taken over to what the file says.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these: a service, `network/NAME` or `volume/NAME`
    #[arg(value_name = "WHAT", value_parser = target)]
    only: Vec<AdoptTarget>,
}

fn target(text: &str) -> Result<AdoptTarget, String> {
    let wrong = |error: unmoor::name::NameError| error.to_string();
    match text.split_once('/') {
        None => ServiceName::parse(text)
            .map(AdoptTarget::Service)
            .map_err(wrong),
        Some(("service", name)) => ServiceName::parse(name)
            .map(AdoptTarget::Service)
            .map_err(wrong),
        Some(("network", name)) => NetworkName::parse(name)
            .map(AdoptTarget::Network)
            .map_err(wrong),
        Some(("volume", name)) => VolumeName::parse(name)
            .map(AdoptTarget::Volume)
            .map_err(wrong),
        Some(_) => Err("use a service's name, network/NAME or volume/NAME".to_owned()),
    }
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let how = (UpOptions::new(), Pulls::Hidden);
    let go_on = "the same command goes on";
    by_plan(app, signals, how, go_on, async |options| {
        let mut all = AdoptOptions::new().shown(options.clone());
        all.only.clone_from(&args.only);
        client.adopt(&stack, &all).await
    })
    .await?;
    Ok(Code::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_said_with_its_kind_or_is_a_service() {
        let read = |text: &str| target(text).map(|target| target.to_string()).ok();
        assert_eq!(read("web").as_deref(), Some("service web"));
        assert_eq!(read("service/web").as_deref(), Some("service web"));
        assert_eq!(read("network/default").as_deref(), Some("network default"));
        assert_eq!(read("volume/data").as_deref(), Some("volume data"));
        for wrong in ["", "replica/x", "volume/", "/x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
