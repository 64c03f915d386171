//! `ps`: the replicas of a stack.

use std::collections::BTreeSet;
use std::time::SystemTime;

use unmoor::backend::ObservedReplica;
use unmoor::compose::OnUnsupported;
use unmoor::label::ONE_OFF;

use crate::app::App;
use crate::args::Services;
use crate::exit::Code;
use crate::output::{Columns, Formatted, Listing};
use crate::verbs::Outcome;
use crate::view;
use crate::view::PhaseWish;

const COLUMNS: Columns = &[
    ("Name", "NAME"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("Service", "SERVICE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("ID", ""),
    ("Project", ""),
    ("State", ""),
    ("Health", ""),
    ("ExitCode", ""),
    ("CreatedAt", ""),
    ("Labels", ""),
];

/// List the replicas of a stack.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also those that have ended, and the copies that `run` has made
    #[arg(short, long)]
    all: bool,
    /// Only names, one a line
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// Only the names of the services that have replicas
    #[arg(long = "services", conflicts_with_all = ["quiet", "format"])]
    services_only: bool,
    /// Only replicas that stand so, as `running`, `paused`, `exited`; repeatable
    #[arg(long, value_name = "STATUS", add = crate::complete::of_phases())]
    status: Vec<PhaseWish>,
    /// As `status=running`; repeatable
    #[arg(long, value_name = "FILTER", value_parser = view::filter)]
    filter: Vec<PhaseWish>,
    /// Also services that the file no longer has; `--orphans=false` leaves them out
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    orphans: bool,
    /// Whole commands
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    format: Formatted,
    #[command(flatten)]
    which: Services,
}

impl Args {
    fn shows(&self, replica: &ObservedReplica) -> bool {
        let is_copy = replica.labels.contains_key(ONE_OFF);
        if is_copy && !self.all && self.which.services.is_empty() {
            return false;
        }
        let mut wished = self.status.iter().chain(&self.filter).peekable();
        match wished.peek() {
            None => self.all || view::is_there(replica),
            Some(_) => wished.any(|wish| wish.fits(replica)),
        }
    }
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let (client, selector) = app.select(&args.which).await?;
    let observed = client.observe(&selector).await?;
    for error in &observed.unreadable {
        app.ui.warn(&error.chain());
    }
    let known = match args.orphans {
        true => None,
        false => Some(app.stack(OnUnsupported::Warn)?),
    };
    let is_known = |replica: &ObservedReplica| {
        let service = view::service(replica);
        let mut names = known.iter().flat_map(|stack| stack.services.keys());
        known.is_none() || names.any(|name| name.as_str() == service)
    };
    let all = observed.replicas().filter(|replica| is_known(replica));
    let shown: Vec<&ObservedReplica> = all.filter(|replica| args.shows(replica)).collect();
    if args.services_only {
        let names: BTreeSet<_> = shown.iter().map(|replica| view::service(replica)).collect();
        app.out.lines(names)?;
    } else if args.quiet {
        app.out.lines(shown.iter().map(|replica| &replica.id))?;
    } else {
        listing(&shown, client.clock().now(), &args).print(app.out, &args.format.format)?;
    }
    Ok(Code::DONE)
}

fn listing(replicas: &[&ObservedReplica], now: SystemTime, args: &Args) -> Listing {
    let mut listing = Listing::new(COLUMNS);
    for replica in replicas {
        let labels = view::labels(replica);
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let cells = vec![
            replica.id.to_string(),
            replica.image.clone(),
            match args.no_trunc {
                true => format!("\"{}\"", replica.command.join(" ")),
                false => view::command(&replica.command),
            },
            view::service(replica).to_owned(),
            view::ago(replica.created, now),
            view::status(replica, now),
            view::ports(&replica.ports),
            replica.id.to_string(),
            replica.id.stack.to_string(),
            view::state(replica).to_owned(),
            view::health(replica).to_owned(),
            replica.exit.map_or(0, |exit| exit.code).to_string(),
            replica
                .created
                .map(crate::time::rfc3339)
                .unwrap_or_default(),
            labels.join(","),
        ];
        listing.row(cells, view::replica(replica));
    }
    listing
}
