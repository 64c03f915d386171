//! How an update goes: batch by batch, watched, taken back where it fails, and undone on request.

use std::sync::Mutex;
use std::time::Duration;

use unmoor_core::apply::{Outcome, Progress};
use unmoor_core::backend::ObservedReplica;
use unmoor_core::client::UpOptions;
use unmoor_core::name::StackName;
use unmoor_core::spec::{FailureAction, Service, Stack};
use unmoor_core::{Client, ErrorKind};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};
use crate::load;

cases! { "update";
    /// A service goes back to what it was, whoever asks for it, and forth again.
    rollback_returns_to_the_former_specification [Spawn, Exec, RollingUpdate, State];
    /// While a service goes back to what it was, no connection to it fails.
    rollback_fails_no_connection [Spawn, Links, InternalTcp, RollingUpdate, Drain, HealthExec, State];
    /// A service that was never anything else has nothing to go back to.
    rollback_of_a_new_service_is_not_found [Spawn, State];
    /// An update that fails is taken back by itself, if its policy says so.
    failed_update_is_taken_back [Spawn, Scale, RollingUpdate, State];
    /// A replacement that dies soon after it was ready has failed, if its policy watches it.
    late_death_fails_an_update [Spawn, Scale, RollingUpdate, State];
    /// The error of an update that failed tells what the replacement wrote last.
    failed_update_tells_its_last_words [Spawn, RollingUpdate, Logs, State];
    /// An update goes on over a failed replacement, if its policy says so, and fails in the end.
    update_goes_on_over_a_failure [Spawn, Scale, RollingUpdate, State];
    /// An update replaces as many replicas at a time as its policy says, and no more.
    update_replaces_so_many_at_a_time [Spawn, Scale, RollingUpdate, State];
    /// Between two batches of an update passes the time that its policy says.
    update_rests_between_batches [Spawn, Scale, RollingUpdate, State];
}

fn version(service: Service, number: u32) -> Service {
    service.env("VERSION", number.to_string())
}

/// The version that every replica of `web` runs.
async fn versions(t: &Fixture, stack: &StackName) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for replica in t.replicas(stack, "web").await? {
        found.push(t.reach(&replica.id, "env VERSION").await?.trim().to_owned());
    }
    Ok(found)
}

async fn rollback_returns_to_the_former_specification(t: &Fixture) -> Verdict {
    let mut service = version(t.server("").replicas(2), 1);
    service.image = t.image("1");
    let stack = t.stack().service(named("web"), service);
    t.up(&stack).await?;
    let old = t.replicas(&stack.name, "web").await?.swap_remove(0);
    let image = t.image("2");
    let change = |mut service: Service| {
        service.image = image;
        version(service, 2)
    };
    t.client()
        .update(&stack.name, &named("web"), change)
        .await?;
    t.client()
        .scale(&stack.name, &named("web"), 3, &UpOptions::new())
        .await?;
    // Somebody else, who knows nothing but the backend.
    let other = Client::with_clock(t.backend().clone(), t.client().clock().clone());
    let web = other.in_stack(stack.name.clone()).service("web")?;
    web.rollback().await?;
    ensure_eq!(
        versions(t, &stack.name).await?,
        ["1", "1", "1"],
        "versions after going back"
    );
    for replica in t.replicas(&stack.name, "web").await? {
        ensure_eq!(
            replica.image_digest,
            old.image_digest,
            "image of {}",
            replica.id
        );
    }
    web.rollback().await?;
    ensure_eq!(
        versions(t, &stack.name).await?,
        ["2", "2", "2"],
        "versions after going forth"
    );
    Ok(())
}

async fn rollback_fails_no_connection(t: &Fixture) -> Verdict {
    let web = t.server("--tcp 80").health(t.health(80)).replicas(2);
    let stack = t
        .stack()
        .service(named("load"), t.server("--load web 80 10"))
        .service(named("web"), version(web, 1));
    t.up(&stack).await?;
    let load = slot(&stack.name, "load", 1);
    load::begin(t, &load).await?;
    let before = load::count(t, &load).await?;
    let change = |service: Service| version(service, 2);
    t.client()
        .update(&stack.name, &named("web"), change)
        .await?;
    let options = UpOptions::new();
    t.client()
        .rollback(&stack.name, &named("web"), &options)
        .await?;
    let now = load::count(t, &load).await?;
    let after = load::enough(t, &load, now.ok + 10).await?;
    after.no_more_failed(&before)?;
    Ok(())
}

async fn rollback_of_a_new_service_is_not_found(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.server(""));
    t.up(&stack).await?;
    let before = t.replica(&stack.name, "web").await?;
    for service in ["web", "nobody"] {
        let options = UpOptions::new();
        let outcome = t
            .client()
            .rollback(&stack.name, &named(service), &options)
            .await;
        let kind = outcome.err().map(|error| error.kind());
        ensure_eq!(kind, Some(ErrorKind::NotFound), "answer for `{service}`");
    }
    let after = t.replica(&stack.name, "web").await?;
    ensure_eq!(after.started, before.started, "start of the service");
    Ok(())
}

/// Three replicas, and an update of theirs whose replacements die soon after they started.
async fn dying_update(
    t: &Fixture,
    change: impl FnOnce(&mut Service) + Send,
) -> Result<Dying, Failure> {
    let stack = t.stack().service(named("web"), t.server("").replicas(3));
    t.up(&stack).await?;
    let before = t.replicas(&stack.name, "web").await?;
    let told = Mutex::new(0);
    let count_starts = |progress: Progress| {
        if progress.verb == "start" && progress.outcome == Outcome::Changed {
            *told.lock().expect("no panic") += 1;
        }
    };
    let dying = t.probe("exit 3 400");
    let options = UpOptions::new().on_progress(&count_starts);
    let edit = move |mut service: Service| {
        service.command = dying.command;
        service.update.monitor = Duration::from_secs(3);
        service.update.deadline = Duration::from_secs(20);
        change(&mut service);
        service
    };
    let outcome = t
        .client()
        .update_with(&stack.name, &named("web"), edit, &options)
        .await;
    let Err(error) = outcome else {
        return Err("an update whose replacements died is called done"
            .to_owned()
            .into());
    };
    let after = t.replicas(&stack.name, "web").await?;
    let starts = *told.lock().expect("no panic");
    Ok(Dying {
        stack,
        before,
        after,
        starts,
        error: error.chain(),
    })
}

struct Dying {
    stack: Stack,
    before: Vec<ObservedReplica>,
    after: Vec<ObservedReplica>,
    /// How many replacements were started.
    starts: usize,
    error: String,
}

impl Dying {
    /// Those that served before serve on, untouched.
    fn check_kept(&self) -> Verdict {
        for old in &self.before {
            let kept = self
                .after
                .iter()
                .any(|now| now.id == old.id && now.started == old.started);
            ensure!(kept, "{} is gone: {:?}", old.id, self.after);
        }
        ensure_eq!(self.after.len(), self.before.len(), "replicas afterwards");
        Ok(())
    }
}

async fn late_death_fails_an_update(t: &Fixture) -> Verdict {
    let dying = dying_update(t, |_| {}).await?;
    dying.check_kept()?;
    ensure_eq!(dying.starts, 1, "replacements that were started");
    Ok(())
}

async fn update_goes_on_over_a_failure(t: &Fixture) -> Verdict {
    let change = |service: &mut Service| service.update.on_failure = FailureAction::Continue;
    let dying = dying_update(t, change).await?;
    dying.check_kept()?;
    ensure_eq!(dying.starts, 3, "replacements that were started");
    Ok(())
}

async fn failed_update_is_taken_back(t: &Fixture) -> Verdict {
    let change = |service: &mut Service| service.update.on_failure = FailureAction::Rollback;
    let dying = dying_update(t, change).await?;
    dying.check_kept()?;
    ensure!(
        dying.error.contains("taken back"),
        "the error does not say so: {}",
        dying.error
    );
    // Nothing of the update is wanted any more: what was applied first is what there is.
    ensure_eq!(
        t.up(&dying.stack).await?.changed,
        0,
        "writes of `up` with the first file"
    );
    Ok(())
}

async fn failed_update_tells_its_last_words(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.server(""));
    t.up(&stack).await?;
    for on_failure in [FailureAction::Pause, FailureAction::Rollback] {
        let failing = t.probe("flaky /count 100");
        let change = move |mut service: Service| {
            service.command = failing.command;
            service.update.monitor = Duration::from_secs(3);
            service.update.on_failure = on_failure;
            service
        };
        let outcome = t.client().update(&stack.name, &named("web"), change).await;
        let Err(error) = outcome else {
            return Err("an update whose replacement failed is called done"
                .to_owned()
                .into());
        };
        ensure_eq!(error.log(), ["failing 1"], "log told by {error:?}");
    }
    Ok(())
}

/// Updates four replicas by a policy; the most and the least replicas that were seen meanwhile.
async fn extremes(
    t: &Fixture,
    policy: impl FnOnce(&mut Service) + Send,
) -> Result<(usize, usize), Failure> {
    let stack = t
        .stack()
        .service(named("web"), version(t.server("").replicas(4), 1));
    t.up(&stack).await?;
    let alive = Mutex::new((4_usize, 4_usize, 4_usize));
    let told = |progress: Progress| {
        let mut seen = alive.lock().expect("no panic");
        match (progress.verb, progress.outcome) {
            // Counted when it begins, and what goes only when it has gone: never too few.
            ("start", Outcome::Started) => seen.0 += 1,
            ("remove", Outcome::Changed) => seen.0 -= 1,
            _ => {}
        }
        seen.1 = seen.1.max(seen.0);
        seen.2 = seen.2.min(seen.0);
    };
    let options = UpOptions::new().on_progress(&told);
    let change = move |mut service: Service| {
        policy(&mut service);
        version(service, 2)
    };
    t.client()
        .update_with(&stack.name, &named("web"), change, &options)
        .await?;
    ensure_eq!(
        versions(t, &stack.name).await?,
        ["2"; 4],
        "versions afterwards"
    );
    let (_, most, least) = *alive.lock().expect("no panic");
    Ok((most, least))
}

async fn update_replaces_so_many_at_a_time(t: &Fixture) -> Verdict {
    let seen = extremes(t, |service| service.update.parallelism = 2).await?;
    ensure_eq!(
        seen,
        (6, 4),
        "most and least replicas, two at a time, new ones first"
    );
    let both = |service: &mut Service| {
        service.update.max_surge = Some(1);
        service.update.max_unavailable = Some(0);
    };
    let seen = extremes(t, both).await?;
    ensure_eq!(
        seen,
        (5, 4),
        "most and least replicas with one more and none less"
    );
    let less = |service: &mut Service| service.update.max_unavailable = Some(2);
    let seen = extremes(t, less).await?;
    ensure_eq!(
        seen,
        (4, 2),
        "most and least replicas with none more and two less"
    );
    Ok(())
}

async fn update_rests_between_batches(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("web"), version(t.server("").replicas(3), 1));
    t.up(&stack).await?;
    let change = |mut service: Service| {
        service.update.delay = Duration::from_millis(700);
        version(service, 2)
    };
    let start = t.time();
    t.client()
        .update(&stack.name, &named("web"), change)
        .await?;
    let took = t.time() - start;
    ensure!(
        took >= Duration::from_millis(1400),
        "three batches with two rests took {took:?}"
    );
    Ok(())
}
