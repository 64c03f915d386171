//! Plays a script, and says which promise was broken.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use unmoor_core::apply::Report;
use unmoor_core::backend::{ObservedReplica, ObservedStack, Phase};
use unmoor_core::client::{StackRecord, UpOptions};
use unmoor_core::name::{ReplicaId, ServiceName};
use unmoor_core::plan::DriftKind;
use unmoor_core::spec::{Role, Service, Stack};
use unmoor_sim::{Bug, Call, Caller, Effect, Fault};

use crate::script::{Harm, Item, Line, Op, Script};
use crate::watch::Watch;
use crate::world::{PATIENCE, VERSION, World, ask, named};

/// What a life came to, or the promise that was broken in it.
pub(crate) type Played = Result<Life, String>;

/// What a life came to; the same for the same script.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Life {
    /// Version and time of the world after each line.
    pub(crate) moments: Vec<(u64, Duration)>,
    /// How many calls were given up, and how many failed.
    pub(crate) died: u32,
    pub(crate) failed: u32,
}

macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

/// Plays a script to its end, and beyond: the next undisturbed `up` gets there.
pub(crate) fn play(script: &Script, bug: Option<Bug>) -> Played {
    let mut world = World::new(script.seed, bug);
    let (mut watch, mut life) = (Watch::default(), Life::default());
    let mut last: Vec<Item> = Vec::new();
    for (number, line) in script.lines.iter().enumerate() {
        let told = |text| format!("line {}, `{line}`: {text}", number + 1);
        play_line(&mut world, &mut watch, &mut life, line).map_err(told)?;
        if let Op::Up { items, .. } = &line.op {
            last.clone_from(items);
        }
        let beside = line.harm.beside.as_ref();
        if let Some(Op::Up { items, .. }) = beside.filter(|_| last.is_empty()) {
            last.clone_from(items);
        }
        life.moments.push((world.sim.version(), world.sim.time()));
    }
    end(&mut world, &mut watch, last).map_err(|text| format!("in the end: {text}"))?;
    life.moments.push((world.sim.version(), world.sim.time()));
    Ok(life)
}

fn play_line(
    world: &mut World,
    watch: &mut Watch,
    life: &mut Life,
    line: &Line,
) -> Result<(), String> {
    if let Op::Kill { service, slot } = &line.op {
        watch.lower(&line.op, &Default::default());
        let id = ReplicaId::new(world.stack.clone(), named(service), *slot);
        // One that is not there cannot die.
        let _ = world.sim.kill(&id);
        world.pass(Duration::from_secs(1));
        return Ok(());
    }
    if let Op::Meddle { service, slot, how } = &line.op {
        watch.lower(&line.op, &Default::default());
        world.meddle(service, *slot, *how);
        return Ok(());
    }
    let scaled = world.record().hand.scale;
    for op in [Some(&line.op), line.harm.beside.as_ref()]
        .into_iter()
        .flatten()
    {
        watch.lower(&meant(world, op), &scaled);
    }
    if let (Op::Plan { items, .. }, Some(Op::Apply)) = (&line.op, line.harm.beside.as_ref()) {
        // The plan may be kept just before the other looks for one.
        watch.lower_to_file(items, true, &scaled);
    }
    let before = world.sim.version();
    let resting = paused(world);
    if line.harm.stale.is_some() {
        // Who is shown the past cannot know what serves now; it must get there all the same.
        watch.promise_nothing();
    }
    let outcome = call(world, watch, line);
    if let Some(text) = watch.broken.take() {
        return Err(text);
    }
    match outcome {
        None => life.died += 1,
        Some(Err(error)) => {
            life.failed += 1;
            // Others may wait in vain for what rests.
            let ill = |item: &Item| item.broken || item.canary;
            let healthy = !matches!(&line.op, Op::Up { items, .. } if items.iter().any(ill));
            let must = line.harm.is_none()
                && healthy
                && resting.is_empty()
                && matches!(line.op, Op::Up { .. } | Op::Down { .. });
            ensure!(!must, "it failed undisturbed: {error}");
        }
        Some(Ok(report)) if line.harm.beside.is_none() && line.harm.stale.is_none() => {
            let planned = matches!(line.op, Op::Plan { .. });
            ensure!(
                !planned || world.sim.version() == before,
                "planning changed something"
            );
            let op = meant(world, &line.op);
            acknowledged(world, watch, &op, &report.resting)?;
            untouched(world, &op, &resting)?;
        }
        Some(Ok(_)) => {}
    }
    Ok(())
}

/// What an operation leads to: that of a plan which was kept is what it was made of.
fn meant(world: &World, op: &Op) -> Op {
    match (op, &*world.shelf.borrow()) {
        (Op::Apply, Some((_, planned))) => planned.clone(),
        _ => op.clone(),
    }
}

/// Asks for what a line says, disturbed as it says; `None` if the caller died.
fn call(world: &mut World, watch: &mut Watch, line: &Line) -> Option<Result<Report, String>> {
    let (first, second) = (world.client(), world.client());
    let (sim, stack, shelf) = (world.sim.clone(), world.stack.clone(), world.shelf.clone());
    disturb(world, &line.harm);
    let at = (&stack, &shelf);
    let mut callers = vec![Caller::new(ask(&first, at, &line.op)).dies_after(line.harm.dies)];
    if let Some(op) = &line.harm.beside {
        callers.push(Caller::new(ask(&second, at, op)));
    }
    let mut outcomes = world.scheduler.run(callers, || watch.look(&sim, &stack));
    world.sim.faults().clear();
    let outcome = outcomes.swap_remove(0)?;
    Some(outcome.map_err(|error| error.chain()))
}

fn disturb(world: &World, harm: &Harm) {
    let faults = world.sim.faults();
    if let Some((per_mille, seed)) = harm.faults {
        faults.random(seed, per_mille);
    }
    if let Some(seed) = harm.slow {
        faults.slow(seed, Duration::from_secs(2));
    }
    if let Some(look) = harm.stale {
        faults.inject(Fault::on(Call::Observe, Effect::Stale).nth(look));
    }
    if let Some(look) = harm.partial {
        faults.inject(Fault::on(Call::Observe, Effect::Partial).nth(look));
    }
}

/// What was answered with success holds.
fn acknowledged(
    world: &mut World,
    watch: &mut Watch,
    op: &Op,
    resting: &[ServiceName],
) -> Result<(), String> {
    let (record, seen) = (world.record(), world.observed());
    let wanted = record.effective(&world.stack);
    match op {
        Op::Up { items, wait, .. } => {
            versions(&record, items)?;
            for (name, spec) in &wanted.services {
                stands(name, spec, &seen, (resting, &record), *wait)?;
            }
            if *wait {
                watch.raise(&world.sim, &wanted);
            }
        }
        Op::Scale { service, count } => {
            let name = named(service);
            ensure!(
                wanted.services[&name].replicas == *count,
                "the count is not remembered"
            );
            if !resting.contains(&name) {
                reached(&name, &wanted.services[&name], &seen, false)?;
            }
        }
        Op::Update { service, version } => {
            let spec = &wanted.services[&named(service)];
            ensure!(
                spec.labels[VERSION] == version.to_string(),
                "the version is not remembered"
            );
            stands(&named(service), spec, &seen, (resting, &record), false)?;
        }
        Op::Pause { service } => {
            let mark = record.rollouts.get(&named(service));
            ensure!(mark.is_some_and(|mark| mark.paused), "it is not paused");
        }
        Op::Rollback { service } | Op::Resume { service } => {
            ensure!(resting.is_empty(), "it rests still: {resting:?}");
            let spec = &wanted.services[&named(service)];
            reached(&named(service), spec, &seen, false)?;
        }
        Op::Link { from, alias, to } => {
            let links = &seen.services[&named(from)].links;
            let made = links
                .iter()
                .any(|link| link.alias.as_str() == alias && link.target.service.as_str() == to);
            ensure!(made, "the link is not there: {links:?}");
        }
        Op::Unlink { from, alias } => {
            let links = &seen.services[&named(from)].links;
            let there = links.iter().any(|link| link.alias.as_str() == alias);
            ensure!(!there, "the link is there still: {links:?}");
        }
        Op::Remove { service } => {
            let name = named(service);
            let there =
                seen.services.contains_key(&name) || seen.replicas_of(&name).next().is_some();
            ensure!(!there, "it is there still: {seen:?}");
        }
        Op::Down { volumes } => gone(&seen, *volumes)?,
        Op::Reconcile => {
            for (name, spec) in &wanted.services {
                stands(name, spec, &seen, (resting, &record), false)?;
            }
            let capabilities = unmoor_core::backend::Capabilities::none();
            let drift = unmoor_core::plan::drift(&wanted, &seen, &capabilities);
            let is_wanted =
                |name: &ServiceName| wanted.services.contains_key(name) && !resting.contains(name);
            let more = drift.items.iter().find(|item| {
                item.kind != DriftKind::Idle && item.service.as_ref().is_none_or(is_wanted)
            });
            ensure!(more.is_none(), "it differs still: {more:?}");
        }
        Op::Plan { .. } | Op::Apply | Op::Meddle { .. } | Op::Kill { .. } => {}
    }
    Ok(())
}

/// The replicas of services whose rollouts somebody paused.
fn paused(world: &mut World) -> Vec<Paused> {
    let record = world.record();
    let seen = world.observed();
    let paused = record.rollouts.iter().filter(|(_, mark)| mark.paused);
    let of = |name: &ServiceName| {
        let replicas = seen.replicas_of(name);
        replicas.map(|one| (one.id.clone(), one.created)).collect()
    };
    paused.map(|(name, _)| (name.clone(), of(name))).collect()
}

type Paused = (ServiceName, Vec<(ReplicaId, Option<SystemTime>)>);

/// What was paused before and is paused now has the replicas that it had.
fn untouched(world: &mut World, op: &Op, before: &[Paused]) -> Result<(), String> {
    let now = paused(world);
    for (name, had) in before {
        let has = now.iter().find(|(other, _)| other == name);
        if let Some((_, has)) = has
            && !matches!(op, Op::Remove { .. } | Op::Down { .. })
        {
            ensure!(has == had, "`{name}` is paused and has changed: {has:?}");
        }
    }
    Ok(())
}

/// A service is as wanted, or rests on the way there.
fn stands(
    name: &ServiceName,
    spec: &Service,
    seen: &ObservedStack,
    (resting, record): (&[ServiceName], &StackRecord),
    waited: bool,
) -> Result<(), String> {
    match resting.contains(name) {
        true => rests(name, spec, record, seen),
        false => reached(name, spec, seen, waited),
    }
}

/// A rollout rests: paused as it was, or after its canary, with the old ones beside it.
fn rests(
    name: &ServiceName,
    spec: &Service,
    record: &StackRecord,
    seen: &ObservedStack,
) -> Result<(), String> {
    if record.rollouts.get(name).is_some_and(|mark| mark.paused) {
        return Ok(());
    }
    let replicas: Vec<&ObservedReplica> = seen.replicas_of(name).collect();
    let declared = seen.services.get(name).map(|service| &service.spec_hash);
    let is_new = |r: &&&ObservedReplica| Some(&r.spec_hash) == declared;
    let (found, wanted) = (replicas.len(), spec.replicas as usize);
    ensure!(
        found == wanted,
        "{found} of `{name}` are there in a trial, {wanted} are wanted: {replicas:?}"
    );
    let canary = spec.update.canary.unwrap_or(0);
    let new = replicas.iter().filter(is_new).count();
    ensure!(
        canary > 0 && new < found,
        "{new} of {found} of `{name}` are new, and it is said to rest: {replicas:?}"
    );
    Ok(())
}

/// The record has the file that was applied.
fn versions(record: &StackRecord, items: &[Item]) -> Result<(), String> {
    let file = record.file.as_ref().ok_or("no file is remembered")?;
    for item in items {
        let known = file.services.get(&named(&item.name));
        let version = known.and_then(|spec| spec.labels.get(VERSION));
        ensure!(
            version == Some(&item.version.to_string()),
            "`{item}` is remembered as {version:?}"
        );
    }
    Ok(())
}

/// A service is as wanted: so many, of this version, none drained, none ending.
fn reached(
    name: &ServiceName,
    spec: &Service,
    seen: &ObservedStack,
    waited: bool,
) -> Result<(), String> {
    let replicas: Vec<&ObservedReplica> = seen.replicas_of(name).collect();
    let (found, wanted) = (replicas.len(), spec.replicas as usize);
    ensure!(
        found == wanted,
        "{found} of `{name}` are there, {wanted} are wanted: {replicas:?}"
    );
    let ids: BTreeSet<&ReplicaId> = replicas.iter().map(|replica| &replica.id).collect();
    ensure!(
        ids.len() == found,
        "one of `{name}` is there twice: {replicas:?}"
    );
    for replica in replicas {
        let id = &replica.id;
        let same = replica.labels.get(VERSION) == spec.labels.get(VERSION);
        ensure!(same, "{id} is outdated: {replica:?}");
        let done =
            replica.phase == Phase::Stopped && replica.exit.is_some_and(|exit| exit.code == 0);
        if spec.role == Role::Job {
            let good = done || (!waited && replica.phase == Phase::Running);
            ensure!(good, "{id} did not run to its end: {replica:?}");
            continue;
        }
        ensure!(
            replica.phase == Phase::Running,
            "{id} does not run: {replica:?}"
        );
        ensure!(
            replica.is_ready() || !waited,
            "{id} is not ready: {replica:?}"
        );
        ensure!(
            !replica.drained && (replica.in_discovery || !replica.is_ready()),
            "{id} stays drained: {replica:?}"
        );
    }
    Ok(())
}

/// Nothing of the stack is left, but for its volumes.
fn gone(seen: &ObservedStack, volumes: bool) -> Result<(), String> {
    let kept = match volumes {
        true => Default::default(),
        false => seen.volumes.clone(),
    };
    let nothing = ObservedStack {
        volumes: kept,
        ..ObservedStack::default()
    };
    ensure!(*seen == nothing, "left behind: {seen:?}");
    Ok(())
}

/// Nobody disturbs any more: one `up` reaches what is wanted, another writes nothing, `down` leaves
/// nothing.
pub(crate) fn end(world: &mut World, watch: &mut Watch, mut last: Vec<Item>) -> Result<(), String> {
    for item in &mut last {
        (item.broken, item.canary) = (false, false);
    }
    go_on(world);
    let up = Op::Up {
        items: last,
        orphans: true,
        wait: true,
    };
    watch.lower(&up, &world.record().hand.scale);
    for again in [false, true] {
        let client = world.client();
        let (sim, stack, shelf) = (world.sim.clone(), world.stack.clone(), world.shelf.clone());
        let caller = Caller::new(ask(&client, (&stack, &shelf), &up));
        let outcome = world
            .scheduler
            .run(vec![caller], || watch.look(&sim, &stack))
            .pop()
            .flatten();
        let report = outcome
            .expect("it does not die")
            .map_err(|error| error.chain())?;
        if let Some(text) = watch.broken.take() {
            return Err(text);
        }
        ensure!(
            !again || report.changed == 0,
            "a second `up` wrote {} times",
            report.changed
        );
        acknowledged(world, watch, &up, &report.resting)?;
        ensure!(report.resting.is_empty(), "something rests in the end");
    }
    let wanted = world.record().effective(&world.stack);
    orphans(&wanted, &world.observed())?;
    ensure!(
        world.record().change.is_none(),
        "a change is called unfinished"
    );
    let client = world.client();
    let (stack, shelf) = (world.stack.clone(), world.shelf.clone());
    let down = Op::Down { volumes: true };
    world
        .scheduler
        .run_one(ask(&client, (&stack, &shelf), &down))
        .map_err(|error| error.chain())?;
    gone(&world.observed(), true)?;
    let stacks = world.scheduler.run_one(client.stacks());
    ensure!(
        stacks.is_ok_and(|list| list.is_empty()),
        "the record is left behind"
    );
    world.pass(PATIENCE);
    gone(&world.observed(), true)
}

/// Whoever paused something lets it go on.
fn go_on(world: &mut World) {
    let names: Vec<ServiceName> = world.record().rollouts.into_keys().collect();
    for name in names {
        let (client, stack) = (world.client(), world.stack.clone());
        let options = UpOptions::new();
        let resumed = client.resume_rollout(&stack, &name, &options);
        // What it goes on to may be broken; that it goes on is what counts.
        let _ = world.scheduler.run_one(resumed);
    }
}

/// No service is there that nobody wants.
fn orphans(wanted: &Stack, seen: &ObservedStack) -> Result<(), String> {
    let declared = seen.services.keys();
    let running = seen.replicas.iter().map(|replica| &replica.id.service);
    let stray = declared
        .chain(running)
        .find(|name| !wanted.services.contains_key(*name));
    ensure!(stray.is_none(), "an orphan is left: {stray:?}");
    Ok(())
}
