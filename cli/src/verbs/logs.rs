//! `logs`: what the replicas of a stack wrote, and with `-f` what they write.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use unmoor::backend::{LogLine, LogOptions, Observed};
use unmoor::label::Selector;
use unmoor::name::{ServiceName, StackName};
use unmoor::{Client, Error, ErrorKind};

use crate::app::App;
use crate::args::{Ansi, Format, Services};
use crate::exit::{Code, Failure};
use crate::output::LogStyle;
use crate::time::parse_moment;
use crate::verbs::Outcome;
use crate::{project, select, view};

const BATCH: usize = 1024;
/// Time between two looks whether there is somebody left who writes.
const PACE: Duration = Duration::from_secs(1);
/// How long further lines are waited for once nobody writes any more.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Show what replicas wrote, on either stream, on standard output.
///
/// `-f` goes on through restarts, and with replicas that come later, until all have ended. Lines are passed on as they
/// are, but a terminal gets text and colours only: what else would steer it is spelled out.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines of each replica, or `all`
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all", value_parser = tail)]
    tail: Tail,
    /// When each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Only lines since then: `10m`, `2026-01-31`, `2026-01-31T12:00:00Z`, seconds since 1970
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only lines before then, in the same forms
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only this replica of a service, counted from 1
    #[arg(long, value_name = "N", requires = "services")]
    index: Option<u32>,
    /// No colours
    #[arg(long)]
    no_color: bool,
    /// No replica's name before each line
    #[arg(long)]
    no_log_prefix: bool,
    /// How to print; `json` is one object a line
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    #[command(flatten)]
    which: Services,
}

#[derive(Debug, Clone, Copy)]
struct Tail(Option<usize>);

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail(None)),
        number => number
            .parse()
            .map(|lines| Tail(Some(lines)))
            .map_err(|_| "use a number or `all`".to_owned()),
    }
}

impl Args {
    fn options(&self, now: SystemTime) -> Result<LogOptions, Failure> {
        let since = moment("--since", self.since.as_deref(), now)?;
        Ok(LogOptions::new()
            .follow(self.follow)
            .tail(self.tail.0)
            .since(since))
    }
}

/// A time as an option says it.
pub(super) fn moment(
    option: &str,
    text: Option<&str>,
    now: SystemTime,
) -> Result<Option<SystemTime>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || {
        Failure::Usage(format!(
            "{option}: `{text}` is neither a time nor a duration"
        ))
    };
    parse_moment(text, now).ok_or_else(wrong).map(Some)
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let stack = app.stack_name()?;
    let now = SystemTime::now();
    let (options, until) = (
        args.options(now)?,
        moment("--until", args.until.as_deref(), now)?,
    );
    let client = app.connect().await?;
    let mut selector = select::services(app, &client, &stack, &args.which.services).await?;
    selector.slot = args.index;
    let ansi = if args.no_color {
        Ansi::Never
    } else {
        app.globals.ansi
    };
    let mut printer = app.logs_in(
        ansi,
        LogStyle {
            prefix: !args.no_log_prefix,
            timestamps: args.timestamps,
            json: args.format == Format::Json,
            together: true,
            raw: false,
        },
    );
    printer.colour(select::known(&client, &stack).await?);
    let observed = client.observe(&selector).await?;
    if observed.replicas().next().is_none() {
        app.ui
            .note("nothing of it is there, so it has written nothing");
        return Ok(Code::DONE);
    }
    let silent = match args.which.services.is_empty() {
        true => project::silent(&app.globals),
        false => Vec::new(),
    };
    let mut hidden = Hidden::new(&client, silent, &args.which.services);
    hidden.learn(&observed);
    let shown = observed.replicas().map(|replica| &replica.id);
    printer.expect(shown.filter(|id| !hidden.services.contains(&id.service)));
    let mut lines = client.logs(&selector, &options).await?.ready_chunks(BATCH);
    let mut unreadable = false;
    let mut over = pin!(all_ended(&client, &selector));
    let mut follows = args.follow;
    loop {
        let batch = tokio::select! {
            batch = lines.next() => batch,
            ended = &mut over, if follows => {
                ended?;
                follows = false;
                continue;
            }
            // The last lines have been written, and may not have been read yet.
            () = client.clock().sleep(LAST_WORDS), if args.follow && !follows => None,
        };
        let Some(mut batch) = batch else { break };
        hidden.look(&stack, &batch).await?;
        let wanted = |line: &LogLine| {
            !hidden.services.contains(&line.replica.service)
                && until.is_none_or(|until| line.time <= until)
        };
        batch.retain(|line| line.as_ref().map_or(true, wanted));
        unreadable |= printer.print_read(batch, app.ui)?;
    }
    if unreadable {
        let error = Error::new(ErrorKind::Corrupt, "some of the log could not be read");
        return Err(error.on(&stack).into());
    }
    Ok(Code::DONE)
}

/// Returns once everything selected has ended and stays so: what is restarted ends for a moment.
async fn all_ended(client: &Client, selector: &Selector) -> Result<(), Failure> {
    let mut before = None;
    loop {
        let observed = client.observe(selector).await?;
        let is_over = !observed.replicas().any(view::is_there);
        let ends = observed.replicas().map(|one| (one.id.clone(), one.started));
        let ends = is_over.then(|| ends.collect::<Vec<_>>());
        if ends.is_some() && ends == before {
            return Ok(());
        }
        before = ends;
        client.clock().sleep(PACE).await;
    }
}

/// Services that are not shown: those that the files keep silent, and one-off copies unless they
/// are named.
struct Hidden<'a> {
    client: &'a Client,
    services: BTreeSet<ServiceName>,
    /// Whether they are copies is known.
    seen: BTreeSet<ServiceName>,
    copies: bool,
}

impl<'a> Hidden<'a> {
    fn new(client: &'a Client, silent: Vec<ServiceName>, named: &[ServiceName]) -> Self {
        Self {
            client,
            services: silent.into_iter().collect(),
            seen: BTreeSet::new(),
            copies: named.is_empty(),
        }
    }

    fn learn(&mut self, observed: &Observed) {
        if self.copies {
            let copies = view::copies(observed.replicas()).cloned();
            self.services.extend(copies);
        }
        let seen = observed.replicas().map(|replica| &replica.id.service);
        self.seen.extend(seen.cloned());
    }

    /// Looks at services that have come since.
    async fn look(
        &mut self,
        stack: &StackName,
        batch: &[unmoor::Result<LogLine>],
    ) -> Result<(), Failure> {
        let mut lines = batch.iter().flatten();
        if self.copies && lines.any(|line| !self.seen.contains(&line.replica.service)) {
            let selector = Selector::stack(stack.clone());
            self.learn(&self.client.observe(&selector).await?);
            let written = batch.iter().flatten().map(|line| &line.replica.service);
            self.seen.extend(written.cloned());
        }
        Ok(())
    }
}
