//! How long the planner takes for large stacks, and how much memory. It is pure: nothing runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use unmoor::backend::{
    Actor, Capabilities, Feature, HealthState, ImageDefaults, ObservedReplica, ObservedService,
    ObservedStack, Phase, ResolvedImage, Support,
};
use unmoor::compose::{Environment, ReadRequest, read};
use unmoor::label::Labels;
use unmoor::name::{ReplicaId, ServiceName, StackName};
use unmoor::plan::{Desired, PlanOptions, plan};
use unmoor::spec::{
    Dependency, Health, HealthTest, Mount, Network, Published, Service, Stack, Volume,
    default_network,
};
use unmoor::{Error, ErrorKind, Result};

use crate::contest::{Row, table};

/// Measures three kinds of plans of a stack.
pub(crate) fn run(services: usize, rounds: usize, file: Option<&Path>) -> Result<String> {
    let idle = resident();
    let stack = match file {
        Some(file) => load(file)?,
        None => made_up(services)?,
    };
    let count = stack.services.len();
    let wanted = desired(stack)?;
    let mut changed = wanted.clone();
    let one = changed.stack.services.values_mut().nth(count / 2);
    if let Some(service) = one {
        let new = ("CHANGED".to_owned(), "1".to_owned());
        service.environment.extend([new]);
    }
    let nothing = ObservedStack::default();
    let all = settled(&wanted);
    let held = resident();
    let mut rows = Vec::new();
    let mut said = String::new();
    for (what, desired, observed) in [
        ("nothing is there", &wanted, &nothing),
        ("nothing changed", &wanted, &all),
        ("one service changed", &changed, &all),
    ] {
        let mut row = Row::new(&format!("{count} services, {what}"));
        let mut entries = 0;
        let before = resident();
        let mut kept = None;
        for _ in 0..rounds.max(1) {
            drop(kept.take());
            let begun = Instant::now();
            let made = plan(desired, observed, &everything(), &PlanOptions::default())?;
            row.add(begun.elapsed());
            entries = made.entries.len();
            kept = Some(made);
        }
        let grown = resident().saturating_sub(before);
        let _ = writeln!(
            said,
            "{what}: {entries} entries, {grown} KiB more while the plan is held"
        );
        rows.push(row);
    }
    let _ = writeln!(
        said,
        "desired and observed: {} KiB",
        held.saturating_sub(idle)
    );
    let _ = writeln!(said, "most at any time: {} KiB", status("VmHWM:"));
    Ok(table(&rows) + &said)
}

fn resident() -> u64 {
    status("VmRSS:")
}

/// A number of this process, in KiB.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn everything() -> Capabilities {
    Capabilities::none().with(Feature::ALL, &Support::Native, Actor::Caller)
}

fn load(file: &Path) -> Result<Stack> {
    let folder = std::env::current_dir()
        .map_err(|error| Error::new(ErrorKind::Internal, "find this directory").because(error))?;
    let mut request = ReadRequest::new(folder, Environment::new());
    request.files = vec![file.to_owned()];
    Ok(read(&request)?.load()?.stack)
}

/// Services as they are found in real files: variables, health, a volume here and there, chains of
/// dependencies of ten.
fn made_up(count: usize) -> Result<Stack> {
    let mut stack = Stack::new(StackName::parse("large")?);
    let name = |index: usize| ServiceName::parse(format!("service-{index:05}"));
    for index in 0..count {
        let image = format!("registry.example/team/app-{}:1.{}", index % 20, index % 7);
        let mut service = Service::new(image.parse()?).command(["serve", "--port", "8080"]);
        for key in 0..6 {
            service = service.env(format!("SETTING_{key}"), format!("value {key} of {index}"));
        }
        service = service.label("team", format!("{}", index % 30));
        if index % 10 != 0 {
            service = service.after(name(index - 1)?, Dependency::default());
        }
        if index % 3 == 0 {
            let check = HealthTest::Http {
                port: 8080,
                path: "/ready".to_owned(),
            };
            service = service.health(Health::new(check));
        }
        if index % 10 == 1 {
            let volume = format!("data-{index}").parse()?;
            service = service.mount(Mount::volume(volume, "/data"));
            stack = stack.volume(format!("data-{index}").parse()?, Volume::default());
        }
        if index % 100 == 2 {
            let port = u16::try_from(10_000 + index / 100).unwrap_or(10_000);
            service = service.publish(Published::tcp(port, 8080));
        }
        stack = stack.service(name(index)?, service);
    }
    Ok(stack)
}

fn desired(stack: Stack) -> Result<Desired> {
    let digest = format!("sha256:{}", "5".repeat(64));
    let mut images = BTreeMap::new();
    for (name, service) in &stack.services {
        let image = ResolvedImage {
            reference: service.image.clone(),
            digest: digest.parse()?,
            defaults: ImageDefaults::default(),
        };
        images.insert(name.clone(), image);
    }
    Ok(Desired {
        stack,
        images,
        fingerprints: BTreeMap::new(),
        contents: BTreeMap::new(),
        left: BTreeSet::new(),
        holds: BTreeMap::new(),
    })
}

/// What there is once all of it was applied.
fn settled(desired: &Desired) -> ObservedStack {
    let stack = &desired.stack;
    let mut seen = ObservedStack::default();
    seen.networks.insert(default_network(), Network::default());
    seen.networks.extend(stack.networks.clone());
    seen.volumes.extend(stack.volumes.keys().cloned());
    for (name, spec) in &stack.services {
        let Some(service) = desired.service(name) else {
            continue;
        };
        let declared = ObservedService {
            stack: stack.name.clone(),
            name: name.clone(),
            spec_hash: service.spec_hash.clone(),
            links: service.links.clone(),
            addresses: BTreeMap::new(),
        };
        seen.services.insert(name.clone(), declared);
        for slot in 1..=spec.replicas {
            let id = ReplicaId::new(stack.name.clone(), name.clone(), slot);
            seen.replicas
                .push(replica(id, &service.spec_hash, &service.image));
        }
    }
    seen
}

fn replica(id: ReplicaId, hash: &str, image: &ResolvedImage) -> ObservedReplica {
    ObservedReplica {
        id,
        spec_hash: hash.to_owned(),
        image: image.reference.to_string(),
        image_digest: image.digest.to_string(),
        command: Vec::new(),
        phase: Phase::Running,
        health: HealthState::Healthy,
        in_discovery: true,
        drained: false,
        stop_grace: None,
        exit: None,
        message: None,
        created: None,
        started: None,
        ended: None,
        restarts: 0,
        addresses: BTreeMap::new(),
        ports: Vec::new(),
        labels: Labels::new(),
    }
}
