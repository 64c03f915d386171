//! What the planner must never get wrong, on small stacks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::backend::{
    Actor, Exit, Feature, HealthState, ImageDefaults, ObservedReplica, ObservedService, Phase,
    ResolvedImage, Support,
};
use crate::name::{ReplicaId, ServiceName, VolumeName};
use crate::spec::{
    Condition, Dependency, Health, HealthTest, HealthWish, Mount, Published, Service, Stack, Volume,
};

mod scope;

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).expect("valid name")
}

fn service() -> Service {
    Service::new("app:1".parse().expect("valid reference"))
}

/// A service whose health is checked, so that others can wait for it.
fn checked() -> Service {
    service().health(Health::new(HealthTest::Tcp { port: 80 }))
}

fn everything() -> Capabilities {
    Capabilities::none().with(Feature::ALL, &Support::Native, Actor::Caller)
}

fn desired(services: &[(&str, Service)]) -> Desired {
    let mut stack = Stack::new(StackName::parse("t").expect("valid name"));
    let mut images = BTreeMap::new();
    for (text, spec) in services {
        stack = stack.service(name(text), spec.clone());
        let image = ResolvedImage {
            reference: spec.image.clone(),
            digest: format!("sha256:{}", "a".repeat(64))
                .parse()
                .expect("valid digest"),
            defaults: ImageDefaults::default(),
        };
        images.insert(name(text), image);
    }
    Desired {
        left: BTreeSet::new(),
        holds: BTreeMap::new(),
        stack,
        images,
        fingerprints: BTreeMap::new(),
        contents: BTreeMap::new(),
    }
}

/// What a perfect platform holds after `desired` was applied.
fn settled(desired: &Desired) -> ObservedStack {
    let mut seen = ObservedStack::default();
    seen.networks.insert(
        crate::spec::default_network(),
        crate::spec::Network::default(),
    );
    seen.volumes.extend(desired.stack.volumes.keys().cloned());
    for (text, spec) in &desired.stack.services {
        let service = desired.service(text).expect("its image is resolved");
        let stack = desired.stack.name.clone();
        seen.services.insert(
            text.clone(),
            ObservedService {
                stack: stack.clone(),
                name: text.clone(),
                spec_hash: service.spec_hash.clone(),
                links: service.links.clone(),
                addresses: BTreeMap::new(),
            },
        );
        for slot in 1..=spec.replicas {
            let id = ReplicaId::new(stack.clone(), text.clone(), slot);
            seen.replicas.push(replica(
                id,
                &service.spec_hash,
                &service.image.digest.to_string(),
            ));
        }
    }
    seen
}

fn replica(id: ReplicaId, hash: &str, digest: &str) -> ObservedReplica {
    ObservedReplica {
        id,
        spec_hash: hash.to_owned(),
        image: "app:1".to_owned(),
        image_digest: digest.to_owned(),
        command: Vec::new(),
        phase: Phase::Running,
        health: HealthState::None,
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
        labels: crate::label::Labels::new(),
    }
}

fn texts(plan: &Plan) -> Vec<String> {
    plan.entries
        .iter()
        .map(|entry| entry.action.to_string())
        .collect()
}

fn planned(desired: &Desired, seen: &ObservedStack) -> Plan {
    plan(desired, seen, &everything(), &PlanOptions::default()).expect("plans")
}

#[test]
fn names_are_declared_before_anything_starts() {
    let web = service().after(name("db"), Dependency::default());
    let wanted = desired(&[("web", web), ("db", service())]);
    assert_eq!(
        texts(&planned(&wanted, &ObservedStack::default())),
        [
            "create network default",
            "declare service db",
            "declare service web",
            "start replica t-db-1",
            "start replica t-web-1",
        ]
    );
}

#[test]
fn a_replica_that_was_drained_before_it_was_ready_is_put_back() {
    let wanted = desired(&[("web", checked().replicas(2))]);
    let mut seen = settled(&wanted);
    seen.replicas[0].health = HealthState::Starting;
    seen.replicas[0].in_discovery = false;
    assert!(planned(&wanted, &seen).is_empty(), "it is on its way");
    seen.replicas[0].drained = true;
    let plan = planned(&wanted, &seen);
    assert_eq!(texts(&plan), ["start replica t-web-1"]);
    assert_eq!(plan.entries[0].reason, "it is drained");
    let drift = drift(&wanted.stack, &seen, &everything());
    let drift: Vec<String> = drift.items.iter().map(ToString::to_string).collect();
    assert_eq!(
        drift,
        ["replica t-web-1: idle: a replica that serves, found one out of discovery"]
    );
}

#[test]
fn every_entry_waits_only_for_earlier_ones() {
    let healthy = Dependency {
        condition: Condition::Healthy,
        ..Dependency::default()
    };
    let wanted = desired(&[
        ("a", service().replicas(3).after(name("b"), healthy)),
        ("b", checked()),
    ]);
    let plan = planned(&wanted, &ObservedStack::default());
    for (index, entry) in plan.entries.iter().enumerate() {
        assert!(
            entry.ground <= index && entry.after.iter().all(|before| *before < index),
            "{}",
            entry.action
        );
    }
    assert!(texts(&plan).contains(&"wait until ready service b".to_owned()));
}

/// What a plan of so many services comes to: entries, and what they name of each other.
fn size_of_plan(count: usize) -> (usize, usize) {
    let names: Vec<String> = (0..count).map(|index| format!("s{index}")).collect();
    let services: Vec<(&str, Service)> = names
        .iter()
        .enumerate()
        .map(|(index, text)| {
            // Every tenth begins another chain.
            let service = match index % 10 {
                0 => checked(),
                _ => service().after(name(&names[index - 1]), Dependency::default()),
            };
            (text.as_str(), service)
        })
        .collect();
    let wanted = desired(&services);
    let plan = planned(&wanted, &ObservedStack::default());
    let edges = plan.entries.iter().map(|entry| entry.after.len()).sum();
    assert!(planned(&wanted, &settled(&wanted)).is_empty());
    (plan.entries.len(), edges)
}

#[test]
fn a_plan_grows_with_its_services_and_not_with_their_square() {
    let (entries, edges) = size_of_plan(100);
    let (more_entries, more_edges) = size_of_plan(1000);
    assert_eq!(more_entries - 1, (entries - 1) * 10, "but for the network");
    assert!(
        edges > 0 && more_edges <= edges * 10,
        "{edges} and {more_edges}"
    );
}

#[test]
fn what_would_never_be_healthy_is_not_waited_for() {
    let healthy = Dependency {
        condition: Condition::Healthy,
        ..Dependency::default()
    };
    let with = |target: Service, dependency| {
        let a = service().after(name("b"), dependency);
        let wanted = desired(&[("a", a), ("b", target)]);
        let seen = ObservedStack::default();
        plan(&wanted, &seen, &everything(), &PlanOptions::default())
    };
    let unchecked = with(service(), healthy).expect_err("its image checks nothing");
    assert_eq!(unchecked.kind(), ErrorKind::InvalidSpec);
    assert!(
        unchecked.message().contains("`b` is waited for"),
        "{unchecked}"
    );
    let mut off = service();
    off.health = HealthWish::Disabled;
    assert!(with(off, healthy).is_err(), "it is switched off");
    assert!(with(checked(), healthy).is_ok());
    let optional = Dependency {
        required: false,
        ..healthy
    };
    assert!(with(service(), optional).is_ok(), "it is not waited for");
}

#[test]
fn what_is_as_wanted_is_left_alone() {
    let healthy = Dependency {
        condition: Condition::Healthy,
        ..Dependency::default()
    };
    let wanted = desired(&[
        ("a", service().replicas(2).after(name("b"), healthy)),
        ("b", checked()),
    ]);
    let plan = planned(&wanted, &settled(&wanted));
    assert_eq!(texts(&plan), Vec::<String>::new());
    assert!(plan.is_empty());
}

#[test]
fn who_gives_a_port_up_is_declared_before_who_takes_it() {
    let published = |port| Published::tcp(port, 80);
    let before = desired(&[
        ("a", service()),
        ("b", service().publish(published(8080))),
        ("c", service().publish(published(8081))),
    ]);
    let mut seen = settled(&before);
    for replica in &mut seen.replicas {
        let own = &before.stack.services[&replica.id.service].ports;
        replica.ports.clone_from(own);
    }
    let after = desired(&[
        ("a", service().publish(published(8080))),
        ("b", service().publish(published(8081))),
        ("c", service()),
    ]);
    let plan = planned(&after, &seen);
    let declared = texts(&plan);
    let declared: Vec<&String> = declared
        .iter()
        .filter(|text| text.starts_with("declare"))
        .collect();
    assert_eq!(
        declared,
        [
            "declare service c",
            "declare service b",
            "declare service a"
        ]
    );
    let after: Vec<&[usize]> = plan.entries[..3].iter().map(|e| &e.after[..]).collect();
    assert_eq!(after, [&[][..], &[0], &[1]]);
}

#[test]
fn services_that_swap_ports_are_planned_all_the_same() {
    let with = |a: u16, b: u16| {
        let published = |port| service().publish(Published::tcp(port, 80));
        desired(&[("a", published(a)), ("b", published(b))])
    };
    let before = with(8080, 8081);
    let mut seen = settled(&before);
    for replica in &mut seen.replicas {
        let own = &before.stack.services[&replica.id.service].ports;
        replica.ports.clone_from(own);
    }
    let plan = planned(&with(8081, 8080), &seen);
    assert_eq!(
        texts(&plan)[..2],
        ["declare service a", "declare service b"]
    );
}

#[test]
fn a_changed_stateless_service_starts_first() {
    let before = desired(&[("a", service())]);
    let after = desired(&[("a", service().env("X", "1"))]);
    let plan = planned(&after, &settled(&before));
    assert_eq!(
        texts(&plan),
        [
            "declare service a",
            "start replica t-a-2",
            "wait until ready service a",
            "drain replica t-a-1",
            "remove replica t-a-1",
        ]
    );
    assert!(
        plan.entries[1].undo.is_some(),
        "a copy that never serves is taken back"
    );
}

#[test]
fn a_replica_that_may_serve_by_then_is_drained_and_one_that_has_ended_is_not() {
    let before = desired(&[("a", service())]);
    let after = desired(&[("a", service().env("X", "1"))]);
    let drains = |phase, health| {
        let mut seen = settled(&before);
        let replica = &mut seen.replicas[0];
        (replica.phase, replica.health) = (phase, health);
        replica.in_discovery = false;
        let plan = planned(&after, &seen);
        texts(&plan).contains(&"drain replica t-a-1".to_owned())
    };
    assert!(drains(Phase::Starting, HealthState::None));
    assert!(drains(Phase::Running, HealthState::Starting));
    assert!(
        !drains(Phase::Running, HealthState::Healthy),
        "it is drained"
    );
    assert!(!drains(Phase::Stopped, HealthState::None));
    assert!(!drains(Phase::Failed, HealthState::None));
}

#[test]
fn a_service_with_a_volume_stops_first() {
    let volume = VolumeName::parse("data").expect("valid name");
    let with = |spec: Service| {
        let mut wanted = desired(&[("a", spec.mount(Mount::volume(volume.clone(), "/data")))]);
        wanted
            .stack
            .volumes
            .insert(volume.clone(), Volume::default());
        wanted
    };
    let plan = planned(&with(service().env("X", "1")), &settled(&with(service())));
    assert_eq!(
        texts(&plan),
        [
            "declare service a",
            "drain replica t-a-1",
            "remove replica t-a-1",
            "start replica t-a-1",
            "wait until ready service a",
        ]
    );
}

#[test]
fn an_interrupted_update_goes_on_where_it_stopped() {
    let before = desired(&[("a", service())]);
    let after = desired(&[("a", service().env("X", "1"))]);
    let mut seen = settled(&before);
    let new = after.service(&name("a")).expect("its image is resolved");
    let id = ReplicaId::new(after.stack.name.clone(), name("a"), 2);
    seen.replicas
        .push(replica(id, &new.spec_hash, &new.image.digest.to_string()));
    let plan = planned(&after, &seen);
    assert_eq!(
        texts(&plan),
        [
            "declare service a",
            "drain replica t-a-1",
            "remove replica t-a-1"
        ]
    );
}

#[test]
fn a_replica_that_is_being_stopped_is_started_once_it_has_ended() {
    let wanted = desired(&[
        ("a", service()),
        ("b", service().after(name("a"), Dependency::default())),
    ]);
    let mut seen = settled(&wanted);
    for replica in &mut seen.replicas {
        replica.phase = Phase::Stopping;
    }
    let plan = planned(&wanted, &seen);
    assert_eq!(
        texts(&plan),
        ["restart replica t-a-1", "restart replica t-b-1"]
    );
}

#[test]
fn a_moved_tag_alone_changes_nothing_else() {
    let before = desired(&[("a", service())]);
    let mut after = before.clone();
    after
        .stack
        .services
        .get_mut(&name("a"))
        .expect("there")
        .image = "app:2".parse().expect("valid");
    assert!(
        planned(&after, &settled(&before)).is_empty(),
        "same digest, other name"
    );
}

#[test]
fn scaling_down_removes_high_slots_and_broken_ones_first() {
    let three = desired(&[("a", service().replicas(3))]);
    let mut seen = settled(&three);
    seen.replicas[0].phase = Phase::Failed;
    let one = desired(&[("a", service())]);
    let removed: Vec<String> = texts(&planned(&one, &seen))
        .into_iter()
        .filter(|text| text.starts_with("remove"))
        .collect();
    assert_eq!(removed, ["remove replica t-a-3", "remove replica t-a-1"]);
}

#[test]
fn a_completed_job_is_not_run_again() {
    let done = Dependency {
        condition: Condition::CompletedSuccessfully,
        ..Dependency::default()
    };
    let wanted = desired(&[
        ("app", service().after(name("migrate"), done)),
        ("migrate", service()),
    ]);
    let mut seen = settled(&wanted);
    for replica in seen
        .replicas
        .iter_mut()
        .filter(|r| r.id.service == name("migrate"))
    {
        replica.phase = Phase::Stopped;
        replica.exit = Some(Exit {
            code: 0,
            out_of_memory: false,
        });
    }
    assert_eq!(texts(&planned(&wanted, &seen)), Vec::<String>::new());
}

#[test]
fn orphans_go_only_when_asked() {
    let both = desired(&[("a", service()), ("b", service())]);
    let one = desired(&[("a", service())]);
    let kept = planned(&one, &settled(&both));
    assert!(kept.is_empty());
    assert_eq!(kept.notes.len(), 1);
    let options = PlanOptions {
        orphans: Orphans::Remove,
        ..PlanOptions::default()
    };
    let gone = plan(&one, &settled(&both), &everything(), &options).expect("plans");
    assert_eq!(
        texts(&gone),
        [
            "drain replica t-b-1",
            "remove replica t-b-1",
            "remove service b"
        ]
    );
}

#[test]
fn services_that_are_left_out_just_now_are_no_orphans() {
    let both = desired(&[("a", service()), ("b", service())]);
    let one = desired(&[("a", service())]);
    for orphans in [Orphans::Keep, Orphans::Remove] {
        let options = PlanOptions {
            orphans,
            left_out: vec![ServiceName::parse("b").expect("a name")],
            ..PlanOptions::default()
        };
        let kept = plan(&one, &settled(&both), &everything(), &options).expect("plans");
        assert!(kept.is_empty() && kept.notes.is_empty(), "{kept}");
    }
}

#[test]
fn all_gaps_are_named_at_once() {
    let spec = service().publish(Published::tcp(80, 80)).replicas(2);
    let caps = Capabilities::none().with(&[Feature::Spawn], &Support::Native, Actor::Caller);
    let error = plan(
        &desired(&[("a", spec)]),
        &ObservedStack::default(),
        &caps,
        &PlanOptions::default(),
    )
    .expect_err("the backend can only spawn");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let features: Vec<_> = error.gaps().iter().map(|gap| gap.feature).collect();
    assert_eq!(
        features,
        [Feature::Scale, Feature::PublishTcp, Feature::RestartNo]
    );
}

#[test]
fn removal_stops_dependents_first_and_keeps_volumes() {
    let web = service().after(name("db"), Dependency::default());
    let mut wanted = desired(&[("web", web), ("db", service())]);
    wanted
        .stack
        .volumes
        .insert(VolumeName::parse("data").expect("valid"), Volume::default());
    let seen = settled(&wanted);
    let removal = |volumes| RemovalOptions {
        volumes,
        ..RemovalOptions::default()
    };
    let plan = plan_removal(&wanted.stack, &seen, removal(false));
    let order = texts(&plan);
    let at = |text: &str| order.iter().position(|t| t == text).expect(text);
    assert!(at("remove replica t-web-1") < at("remove replica t-db-1"));
    assert!(
        !order.iter().any(|text| text.starts_with("drain")),
        "{order:?}"
    );
    assert!(!order.iter().any(|text| text.contains("volume")));
    let plan = plan_removal(&wanted.stack, &seen, removal(true));
    assert!(texts(&plan).contains(&"remove volume data".to_owned()));
}

#[test]
fn a_wait_alone_is_an_empty_plan() {
    let wanted = desired(&[("a", service())]);
    let options = PlanOptions {
        wait: Some(Duration::from_secs(1)),
        ..PlanOptions::default()
    };
    let plan = plan(&wanted, &settled(&wanted), &everything(), &options).expect("plans");
    assert_eq!(texts(&plan), ["wait until ready service a"]);
    assert!(plan.is_empty());
}

#[test]
fn a_one_off_copy_that_failed_is_not_started_again() {
    let once = service().label(crate::label::ONE_OFF, "web");
    let wanted = desired(&[("web-run-1", once), ("web", service())]);
    let mut seen = settled(&wanted);
    for replica in &mut seen.replicas {
        replica.phase = Phase::Failed;
    }
    assert_eq!(
        texts(&planned(&wanted, &seen)),
        ["start replica t-web-1"],
        "the service itself is started, its one-off copy is not"
    );
}

#[test]
fn a_replica_that_an_unfinished_change_drained_is_put_back() {
    let desired = desired(&[("web", service().replicas(2))]);
    let mut seen = settled(&desired);
    seen.replicas[0].in_discovery = false;
    assert_eq!(texts(&planned(&desired, &seen)), ["start replica t-web-1"]);
    let fewer = self::desired(&[("web", service().replicas(1))]);
    let gone = texts(&planned(&fewer, &seen));
    assert_eq!(
        gone,
        ["remove replica t-web-1"],
        "the one that serves stays"
    );
    // What is not ready is out by itself and comes back by itself.
    seen.replicas[0].health = HealthState::Starting;
    assert!(planned(&desired, &seen).is_empty());
}
