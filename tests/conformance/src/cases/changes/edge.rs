//! Changes made twice, of what is not there, under the longest names, and with secrets about.

use std::sync::Mutex;

use unmoor_core::ErrorKind;
use unmoor_core::apply::Progress;
use unmoor_core::backend::{ExecOptions, Feature, LogOptions};
use unmoor_core::client::UpOptions;
use unmoor_core::label::Selector;
use unmoor_core::name::{Alias, BlobName, ServiceName, StackName};
use unmoor_core::spec::{Blob, BlobGrant, BlobKind, BlobSource, Link, SecretBytes, Service, Stack};

use super::{Change, Ground, stranger};
use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};

cases! { "changes";
    /// A change that is made twice starts nothing anew and leaves the same.
    changes_twice_are_changes_once [Spawn, Scale, Links, LinkLive, InternalTcp, RollingUpdate, State];
    /// Changes of what is not there are refused, and write nothing.
    changes_of_nothing_are_refused [Spawn, Scale, Links, LinkLive, State];
    /// A spawn does not take the place of a service of the file.
    spawn_over_the_file_is_refused [Spawn, State];
    /// Every change works under the longest names of stack, services and aliases.
    changes_under_the_longest_names [Spawn, Scale, Links, LinkLive, InternalTcp, RollingUpdate, State];
    /// Through every change a secret shows in no plan, progress, error, log, record, event, nor in
    /// what is observed or in the table of processes.
    secrets_nowhere_through_changes [Spawn, Scale, Links, LinkLive, RollingUpdate, Secrets, State];
}

async fn changes_twice_are_changes_once(t: &Fixture) -> Verdict {
    let ground = Ground::plain(t);
    ground.up(t).await?;
    for change in [
        Change::Up,
        Change::Spawn,
        Change::Scale,
        Change::Update,
        Change::Link,
        Change::Repoint,
        Change::Remove,
    ] {
        change.prepare(t, &ground, 1).await?;
        change.done(t, &ground, 1).await?;
        let begun = starts(t, &ground).await?;
        change.make(t, &stranger(t), &ground, 1).await?;
        ensure_eq!(
            starts(t, &ground).await?,
            begun,
            "replicas and their starts after {change:?} twice"
        );
        change.check(t, &ground, 1).await?;
    }
    Ok(())
}

/// Every replica with its last start.
async fn starts(t: &Fixture, ground: &Ground) -> Result<Vec<String>, Failure> {
    let seen = t.observe(&ground.name).await?;
    let mut starts: Vec<String> = seen
        .replicas
        .iter()
        .map(|replica| format!("{} {:?}", replica.id, replica.started))
        .collect();
    starts.sort();
    Ok(starts)
}

async fn changes_of_nothing_are_refused(t: &Fixture) -> Verdict {
    let ground = Ground::plain(t);
    ground.up(t).await?;
    let before = format!("{:?}", t.observe(&ground.name).await?);
    let record = format!("{:?}", t.client().record(&ground.name).await?);
    let (client, nobody) = (t.client(), named("nobody"));
    let nowhere = t.stack_name();
    let options = UpOptions::new();
    let alias = Alias::parse("aside")?;
    for (stack, service) in [(&ground.name, &nobody), (&nowhere, &named("web"))] {
        let link = Link::to(named("other")).alias(alias.clone());
        let same = |service: Service| service;
        let outcomes = [
            ("scale", client.scale(stack, service, 2, &options).await),
            ("update", client.update(stack, service, same).await),
            ("rollback", client.rollback(stack, service, &options).await),
            ("link", client.link(stack, service, link).await),
            ("unlink", client.unlink(stack, service, &alias).await),
        ];
        for (what, outcome) in outcomes {
            let kind = outcome.err().map(|error| error.kind());
            let wanted = Some(ErrorKind::NotFound);
            ensure_eq!(kind, wanted, "{what} of {service} of {stack}");
        }
    }
    let astray = Link::to(nobody).alias(alias);
    let outcome = client.link(&ground.name, &named("load"), astray).await;
    ensure!(outcome.is_err(), "a link to nobody was made");
    let after = format!("{:?}", t.observe(&ground.name).await?);
    ensure_eq!(after, before, "what is observed");
    let after = format!("{:?}", t.client().record(&ground.name).await?);
    ensure_eq!(after, record, "the record");
    let seen = t.observe(&nowhere).await?;
    ensure!(seen.is_empty(), "something was made: {seen:?}");
    Ok(())
}

async fn spawn_over_the_file_is_refused(t: &Fixture) -> Verdict {
    let ground = Ground::plain(t);
    ground.up(t).await?;
    let before = starts(t, &ground).await?;
    let client = t.client().in_stack(ground.name.clone());
    let outcome = client.spawn("web", t.server("")).await;
    let kind = outcome.err().map(|error| error.kind());
    ensure_eq!(kind, Some(ErrorKind::AlreadyExists), "kind of the refusal");
    ensure_eq!(starts(t, &ground).await?, before, "replicas afterwards");
    Ok(())
}

fn padded(start: &str, letter: &str) -> String {
    format!("{start}{}", letter.repeat(63 - start.len()))
}

async fn changes_under_the_longest_names(t: &Fixture) -> Verdict {
    let stack = StackName::parse(padded(t.stack_name().as_str(), "s"))?;
    t.adopt(&stack);
    let (one, two) = (
        ServiceName::parse(padded("a", "a"))?,
        ServiceName::parse(padded("a", "b"))?,
    );
    let file = Stack::new(stack.clone())
        .service(one.clone(), t.server(""))
        .service(two.clone(), t.server("--tcp 80 --name two"));
    t.up(&file).await?;
    let (client, options) = (t.client(), UpOptions::new().wait(PATIENCE));
    client.scale(&stack, &two, 2, &options).await?;
    let change = |service: Service| service.env("VERSION", "1");
    client.update(&stack, &two, change).await?;
    client.rollback(&stack, &two, &options).await?;
    let alias = Alias::parse(padded("x", "y"))?;
    let link = Link::to(two.clone()).alias(alias.clone());
    client.link(&stack, &one, link).await?;
    let from = slot(&stack, one.as_str(), 1);
    let words = format!("connect {alias} 80 hello");
    t.until_says(&from, &words, |out| out.ends_with(" two\n"))
        .await?;
    client.unlink(&stack, &one, &alias).await?;
    let third = padded("a", "c");
    let spawned = client.in_stack(stack.clone());
    spawned.spawn(third.as_str(), t.server("")).await?;
    t.reach(&slot(&stack, &third, 1), "print here").await?;
    client.remove(&stack, &ServiceName::parse(third)?).await?;
    ensure_eq!(
        t.replicas(&stack, two.as_str()).await?.len(),
        2,
        "replicas in the end"
    );
    t.down(&stack).await?;
    Ok(())
}

const CONTENT: &str = "tr0ub4dor-and-three";

fn with_secret(mut service: Service) -> Service {
    let name = BlobName::parse("pass").expect("a valid name");
    service.secrets.push(BlobGrant::new(BlobKind::Secret, name));
    service
}

/// A stack one of whose services has a secret.
fn keeping(t: &Fixture, name: &StackName) -> Stack {
    let blob = Blob {
        source: BlobSource::Inline(SecretBytes::new(CONTENT)),
    };
    let mut stack = Stack::new(name.clone())
        .service(named("web"), with_secret(t.server("--tcp 80")))
        .service(named("load"), t.server(""));
    let name = BlobName::parse("pass").expect("a valid name");
    stack.secrets.insert(name, blob);
    stack
}

async fn secrets_nowhere_through_changes(t: &Fixture) -> Verdict {
    let stack = keeping(t, &t.stack_name());
    let said = Mutex::new(Vec::<(String, String)>::new());
    let say = |what: &str, text: String| {
        said.lock().expect("no panic").push((what.to_owned(), text));
    };
    let told = |progress: Progress| say("progress", format!("{progress:?}"));
    let plans = |plan: &unmoor_core::plan::Plan| {
        let stored = serde_json::to_string(plan).unwrap_or_default();
        say("plan", format!("{plan} {plan:?} {stored}"));
    };
    let options = UpOptions::new()
        .wait(PATIENCE)
        .on_progress(&told)
        .on_plan(&plans);
    let (client, web) = (t.client(), named("web"));
    client.up(&stack, &options).await?;
    client.scale(&stack.name, &web, 2, &options).await?;
    let change = |service: Service| service.env("VERSION", "1");
    client
        .update_with(&stack.name, &web, change, &options)
        .await?;
    client.rollback(&stack.name, &web, &options).await?;
    let link = Link::to(web.clone()).alias(Alias::parse("aside")?);
    client.link(&stack.name, &named("load"), link).await?;
    let breaks = |service: Service| service.entrypoint(["/not/there"]);
    match client
        .update_with(&stack.name, &web, breaks, &options)
        .await
    {
        Err(error) => say("error", format!("{error:?} {}", error.chain())),
        Ok(_) => say("no error", String::new()),
    }
    client.up(&stack, &options).await?;
    look_around(t, &stack.name, &say).await?;
    let replica = slot(&stack.name, "web", 1);
    let inside = t.reach(&replica, "read /run/secrets/pass").await?;
    ensure_eq!(inside, CONTENT, "the secret where it belongs");
    for (what, text) in said.into_inner().expect("no panic") {
        ensure!(!text.contains(CONTENT), "the {what} shows the secret");
    }
    Ok(())
}

/// Everything that can be asked about a stack.
async fn look_around(t: &Fixture, stack: &StackName, say: &impl Fn(&str, String)) -> Verdict {
    let (client, all) = (t.client(), Selector::stack(stack.clone()));
    let observed = client.observe(&all).await?;
    let stored = serde_json::to_string(&observed.stack(stack)).unwrap_or_default();
    say("list of what there is", format!("{observed:?} {stored}"));
    say(
        "list of endpoints",
        format!("{:?}", client.discover(&all).await?),
    );
    say("record", format!("{:?}", client.record(stack).await?));
    if let Some(state) = t.backend().state() {
        let stored = state.load(stack).await?;
        let bytes = stored.map(|(bytes, _)| bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        say("stored record", text);
    }
    if t.has(Feature::Logs) {
        use futures_util::TryStreamExt as _;
        let lines = client.logs(&all, &LogOptions::new()).await?;
        let lines: Vec<_> = lines.try_collect().await?;
        say("log", format!("{lines:?}"));
    }
    let replica = slot(stack, "web", 1);
    if t.has(Feature::Processes) {
        let list = client.processes(&replica).await?;
        say("table of processes", format!("{list:?}"));
    }
    if t.has(Feature::Exec) {
        let variables = t
            .exec(&replica, &ExecOptions::new(["/probe", "env"]))
            .await?;
        say("environment", variables.out);
    }
    Ok(())
}
