//! A plan about some services leaves the others as they are.

use super::*;
use crate::spec::{Blob, BlobId, BlobKind, BlobSource, Link, SecretBytes};

fn names(list: &[&str]) -> Vec<ServiceName> {
    list.iter().map(|text| name(text)).collect()
}

fn about(desired: &Desired, seen: &ObservedStack, only: Scope) -> Vec<String> {
    let options = PlanOptions::default().only(only);
    texts(&plan(desired, seen, &everything(), &options).expect("plans"))
}

fn healthy() -> Dependency {
    Dependency {
        condition: Condition::Healthy,
        ..Dependency::default()
    }
}

fn stop(seen: &mut ObservedStack, service: &str) {
    let all = seen.replicas.iter_mut();
    for replica in all.filter(|replica| replica.id.service == name(service)) {
        replica.phase = Phase::Stopped;
        replica.in_discovery = false;
        replica.exit = Some(Exit {
            code: 143,
            out_of_memory: false,
        });
    }
}

#[test]
fn a_change_of_one_service_leaves_another_stopped() {
    let wanted = |count| desired(&[("a", service()), ("b", service().replicas(count))]);
    let mut seen = settled(&wanted(1));
    stop(&mut seen, "a");
    let change = Scope::Change(names(&["b"]));
    assert_eq!(about(&wanted(2), &seen, change), ["start replica t-b-2"]);
    assert_eq!(
        about(&wanted(2), &seen, Scope::All),
        ["start replica t-a-1", "start replica t-b-2"]
    );
}

#[test]
fn a_change_starts_what_is_needed_only_if_something_starts() {
    let of = |count, var: &str| {
        let b = service().after(name("a"), healthy()).replicas(count);
        desired(&[("a", checked().env("X", var)), ("b", b)])
    };
    let mut seen = settled(&of(2, "1"));
    stop(&mut seen, "a");
    let change = || Scope::Change(names(&["b"]));
    assert_eq!(
        about(&of(1, "1"), &seen, change()),
        ["drain replica t-b-2", "remove replica t-b-2"]
    );
    assert_eq!(
        about(&of(3, "1"), &seen, change()),
        [
            "start replica t-a-1",
            "wait until ready service a",
            "start replica t-b-3"
        ]
    );
    // What runs is left as it is, changed or not; its health is waited for all the same.
    let mut seen = settled(&of(2, "1"));
    let first = &mut seen.replicas[0];
    assert_eq!(first.id.service, name("a"));
    first.health = HealthState::Starting;
    assert_eq!(
        about(&of(3, "2"), &seen, change()),
        ["wait until ready service a", "start replica t-b-3"]
    );
    let alone = Scope::Alone(names(&["b"]));
    assert_eq!(about(&of(3, "2"), &seen, alone), ["start replica t-b-3"]);
}

#[test]
fn naming_a_service_brings_what_it_depends_on_and_nothing_else() {
    let web = service().after(name("api"), Dependency::default());
    let api = service().after(name("db"), Dependency::default());
    let all = [
        ("web", web),
        ("api", api),
        ("db", service()),
        ("x", service()),
    ];
    let wanted = desired(&all);
    let nothing = ObservedStack::default();
    assert_eq!(
        about(&wanted, &nothing, Scope::services(names(&["api"]))),
        [
            "create network default",
            "declare service api",
            "declare service db",
            "start replica t-db-1",
            "start replica t-api-1",
        ]
    );
    assert_eq!(
        about(&wanted, &nothing, Scope::Alone(names(&["api"]))),
        [
            "create network default",
            "declare service api",
            "start replica t-api-1"
        ]
    );
    assert_eq!(Scope::services(Vec::new()), Scope::All);
}

#[test]
fn making_anew_is_meant_for_the_named_services_alone() {
    let web = service().after(name("db"), Dependency::default());
    let wanted = desired(&[("web", web), ("db", service())]);
    let options = PlanOptions {
        recreate: Recreate::Always,
        ..PlanOptions::default().only(Scope::services(names(&["web"])))
    };
    let plan = plan(&wanted, &settled(&wanted), &everything(), &options).expect("plans");
    let touched = texts(&plan);
    assert!(
        !touched.iter().any(|text| text.contains("t-db")),
        "{touched:?}"
    );
    assert!(
        touched.contains(&"remove replica t-web-1".to_owned()),
        "{touched:?}"
    );
}

#[test]
fn a_link_is_declared_with_its_target_and_starts_nothing() {
    let plain = || [("a", service()), ("b", service()), ("c", service())];
    let mut seen = settled(&desired(&plain()));
    stop(&mut seen, "a");
    seen.services.remove(&name("c"));
    let [_, b, c] = plain();
    let linked = service()
        .link(Link::to(name("c")))
        .link(Link::to(name("b")));
    let wanted = desired(&[("a", linked), b, c]);
    assert_eq!(
        about(&wanted, &seen, Scope::Declare(names(&["a"]))),
        ["declare service a", "declare service c"]
    );
}

#[test]
fn only_the_orphan_that_is_named_goes() {
    let all = desired(&[("a", service()), ("b", service()), ("c", service())]);
    let left = desired(&[("a", service())]);
    let options = PlanOptions {
        orphans: Orphans::RemoveThese(names(&["b"])),
        ..PlanOptions::default().only(Scope::Change(Vec::new()))
    };
    let plan = plan(&left, &settled(&all), &everything(), &options).expect("plans");
    assert_eq!(
        texts(&plan),
        [
            "drain replica t-b-1",
            "remove replica t-b-1",
            "remove service b"
        ]
    );
    assert_eq!(plan.notes, Vec::<String>::new());
}

#[test]
fn what_is_outside_of_the_plan_needs_neither_image_nor_secret_nor_capability() {
    let privileged = {
        let mut spec = service().replicas(2);
        spec.security.privileged = true;
        spec
    };
    let mut wanted = desired(&[("a", service()), ("b", privileged)]);
    wanted.images.remove(&name("b"));
    let id = BlobId {
        kind: BlobKind::Secret,
        name: "key".parse().expect("valid name"),
    };
    let blob = Blob {
        source: BlobSource::Inline(SecretBytes::new("x")),
    };
    wanted.stack.secrets.insert(id.name.clone(), blob);
    wanted.fingerprints.insert(id, "f".to_owned());
    let able = [Feature::Spawn, Feature::RestartNo, Feature::Drain];
    let caps = Capabilities::none().with(&able, &Support::Native, Actor::Caller);
    let only = |names| PlanOptions::default().only(Scope::Change(names));
    let seen = ObservedStack::default();
    plan(&wanted, &seen, &caps, &only(names(&["a"]))).expect("`b` is not asked for");
    let error = plan(&wanted, &seen, &caps, &only(names(&["b"]))).expect_err("it is now");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = plan(&wanted, &seen, &caps, &only(names(&["z"]))).expect_err("there is none");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_backend_that_cannot_drain_is_not_asked_to() {
    let wanted = desired(&[("a", service())]);
    let able = [Feature::Spawn, Feature::RestartNo];
    let caps = Capabilities::none().with(&able, &Support::Native, Actor::Caller);
    let seen = settled(&wanted);
    let none = desired(&[("a", service().replicas(0))]);
    let fewer = plan(&none, &seen, &caps, &PlanOptions::default()).expect("plans");
    assert_eq!(texts(&fewer), ["remove replica t-a-1"]);
    // Nor is a replica that it does not list anywhere one that was drained.
    let mut unlisted = seen.clone();
    unlisted.replicas[0].in_discovery = false;
    let same = plan(&wanted, &unlisted, &caps, &PlanOptions::default()).expect("plans");
    assert_eq!(texts(&same), Vec::<String>::new());
    let grace = RemovalOptions {
        grace: Some(Duration::from_secs(1)),
        ..RemovalOptions::default()
    };
    let down = plan_removal(&wanted.stack, &seen, grace);
    assert_eq!(
        texts(&down),
        [
            "stop replica t-a-1",
            "remove replica t-a-1",
            "remove service a",
            "remove network default"
        ]
    );
}
