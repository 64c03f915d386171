//! How an attached `up` goes on: whose lines it shows, and what ends it.

use std::time::{Duration, SystemTime};

use unmoor::Client;
use unmoor::backend::Feature;
use unmoor::label::Selector;
use unmoor::name::ServiceName;
use unmoor::spec::Stack;

use crate::app::App;
use crate::args::Ansi;
use crate::attach::{self, Abort, Follow, Shown};
use crate::exit::Failure;
use crate::interrupt::Interrupts;
use crate::output::LogStyle;
use crate::verbs::Outcome;
use crate::{project, session};

/// What is said about an attached stack.
#[derive(Debug, clap::Args)]
pub(super) struct Attached {
    /// Stop all once a replica has ended; its exit code is ours
    #[arg(long, conflicts_with_all = ["detach", "wait", "no_start"])]
    #[arg(conflicts_with = "abort_on_container_failure")]
    abort_on_container_exit: bool,
    /// Stop all once a replica has ended with another code than 0; its exit code is ours
    #[arg(long, conflicts_with_all = ["detach", "wait", "no_start"])]
    abort_on_container_failure: bool,
    /// Stop all once a replica has ended; this service's exit code is ours
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "wait", "no_start"])]
    #[arg(add = crate::complete::of_services())]
    exit_code_from: Option<ServiceName>,
    /// Show only what these services write; repeatable
    #[arg(long, value_name = "SERVICE", conflicts_with = "attach_dependencies")]
    #[arg(add = crate::complete::of_services())]
    attach: Vec<ServiceName>,
    /// Do not show what these services write; repeatable
    #[arg(long, value_name = "SERVICE", add = crate::complete::of_services())]
    no_attach: Vec<ServiceName>,
    /// Also stay with what the services named depend on
    #[arg(long)]
    attach_dependencies: bool,
    /// No colours before lines
    #[arg(long)]
    no_color: bool,
    /// No replica's name before each line
    #[arg(long)]
    no_log_prefix: bool,
    /// When each line was written
    #[arg(long)]
    timestamps: bool,
}

/// What was brought up, and when.
#[derive(Debug)]
pub(super) struct About<'a> {
    pub(super) client: &'a Client,
    pub(super) stack: &'a Stack,
    pub(super) services: &'a [ServiceName],
    pub(super) begun: SystemTime,
    pub(super) grace: Option<Duration>,
}

impl Attached {
    /// Refuses services that the stack does not have.
    pub(super) fn check(&self, stack: &Stack) -> Result<(), Failure> {
        let named = self.attach.iter().chain(&self.no_attach);
        for name in named.chain(&self.exit_code_from) {
            project::service(stack, name)?;
        }
        Ok(())
    }

    fn abort(&self) -> Abort {
        if self.abort_on_container_failure {
            Abort::OnFailure
        } else if self.abort_on_container_exit || self.exit_code_from.is_some() {
            Abort::OnEnd
        } else {
            Abort::Never
        }
    }

    /// True if the stack can be stayed with; an error if an end was to be waited for.
    pub(super) fn is_possible(&self, app: &App, client: &Client) -> Result<bool, Failure> {
        if self.abort() != Abort::Never {
            session::need(client, Feature::LogsFollow)?;
        }
        Ok(attach::is_possible(app, client))
    }

    /// Stays with what was brought up.
    pub(super) async fn stay(
        &self,
        app: &App,
        about: About<'_>,
        signals: &mut Interrupts,
    ) -> Outcome {
        let mut selector = Selector::stack(about.stack.name.clone());
        // Nobody waits for copies that ran once, nor for what the file no longer has.
        selector.services = match about.services {
            [] => about.stack.services.keys().cloned().collect(),
            named => named.to_vec(),
        };
        if self.attach_dependencies {
            dependencies(&mut selector.services, about.stack);
        }
        let mut follow = Follow::new(app, about.client, selector);
        follow.since = Some(about.begun);
        let mut not = project::silent(&app.globals);
        not.retain(|name| !self.attach.contains(name));
        not.extend(self.no_attach.iter().cloned());
        follow.shown = Shown {
            only: self.attach.clone(),
            not,
        };
        if self.no_color {
            follow.ansi = Ansi::Never;
        }
        follow.look = LogStyle {
            prefix: !self.no_log_prefix,
            timestamps: self.timestamps,
            ..LogStyle::named()
        };
        follow.abort = self.abort();
        follow.grace = about.grace;
        attach::stay(&follow, self.exit_code_from.as_ref(), signals).await
    }
}

/// Adds what these services depend on, directly or not.
fn dependencies(services: &mut Vec<ServiceName>, stack: &Stack) {
    let mut at = 0;
    while let Some(service) = services.get(at).and_then(|name| stack.services.get(name)) {
        let further = service.depends_on.keys();
        let further: Vec<ServiceName> = further
            .filter(|name| !services.contains(name))
            .cloned()
            .collect();
        services.extend(further);
        at += 1;
    }
}
