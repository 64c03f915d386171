//! How a service is kept, as docker compose prints it; what Compose has no key for, as we do.

use serde_json::{Map, Value, json};

use crate::spec::{
    AddressMode, Bounds, Condition, DriftPolicy, FailureAction, Health, HealthTest, HealthWish,
    Link, RestartPolicy, Role, Service, UpdateOrder, UpdatePolicy,
};
use crate::units::{Bytes, MilliCpu};

use super::go_duration;
use super::service::Keys;

/// Puts what keeps the service: order, restart, health, counts, and our own settings.
pub(super) fn put(service: &Service, keys: &mut Keys) {
    keys.put_if(!service.depends_on.is_empty(), "depends_on", || {
        let entries = service.depends_on.iter().map(|(name, dependency)| {
            let condition = match dependency.condition {
                Condition::Started => "service_started",
                Condition::Healthy => "service_healthy",
                Condition::CompletedSuccessfully => "service_completed_successfully",
            };
            let mut map = Map::new();
            map.insert("condition".to_owned(), json!(condition));
            if dependency.restart {
                map.insert("restart".to_owned(), json!(true));
            }
            map.insert("required".to_owned(), json!(dependency.required));
            (name.to_string(), Value::Object(map))
        });
        Value::Object(entries.collect())
    });
    match service.restart {
        RestartPolicy::No => {}
        RestartPolicy::Always => keys.put("restart", json!("always")),
        RestartPolicy::UnlessStopped => keys.put("restart", json!("unless-stopped")),
        RestartPolicy::OnFailure { max: None } => keys.put("restart", json!("on-failure")),
        RestartPolicy::OnFailure { max: Some(max) } => {
            keys.put("restart", json!(format!("on-failure:{max}")));
        }
    }
    health(service, keys);
    deploy(service, keys);
    unmoor(service, keys);
}

/// The check as Compose can say it; `None` if it cannot.
fn compose_test(test: &HealthTest) -> Option<Value> {
    match test {
        HealthTest::Exec(words) => {
            let words = std::iter::once("CMD").chain(words.iter().map(String::as_str));
            Some(json!(words.collect::<Vec<_>>()))
        }
        HealthTest::Shell(line) => Some(json!(["CMD-SHELL", line])),
        HealthTest::Tcp { .. } | HealthTest::Http { .. } => None,
    }
}

fn times(health: &Health, map: &mut Map<String, Value>) {
    let default = Health::new(HealthTest::Exec(Vec::new()));
    let durations = [
        ("timeout", health.timeout, default.timeout),
        ("interval", health.interval, default.interval),
        ("start_period", health.start_period, default.start_period),
        (
            "start_interval",
            health.start_interval,
            default.start_interval,
        ),
    ];
    for (key, value, usual) in durations {
        if value != usual {
            map.insert(key.to_owned(), json!(go_duration(value)));
        }
    }
    if health.retries != default.retries {
        map.insert("retries".to_owned(), json!(health.retries));
    }
}

fn health(service: &Service, keys: &mut Keys) {
    match &service.health {
        HealthWish::FromImage => {}
        HealthWish::Disabled => keys.put("healthcheck", json!({ "disable": true })),
        HealthWish::Check(health) => {
            if let Some(test) = compose_test(&health.test) {
                let mut map = Map::new();
                map.insert("test".to_owned(), test);
                times(health, &mut map);
                keys.put("healthcheck", Value::Object(map));
            }
        }
    }
}

fn deploy(service: &Service, keys: &mut Keys) {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    if service.role == Role::Job {
        put("mode", json!("replicated-job"));
    }
    if service.replicas != 1 {
        put("replicas", json!(service.replicas));
    }
    let limits = &service.resources;
    let size = |bytes: Bytes| json!(bytes.0.to_string());
    let mut limit = Map::new();
    if let Some(MilliCpu(milli)) = limits.cpu {
        limit.insert("cpus".to_owned(), json!(f64::from(milli) / 1000.0));
    }
    limit.extend(
        limits
            .memory
            .map(|bytes| ("memory".to_owned(), size(bytes))),
    );
    limit.extend(limits.pids.map(|pids| ("pids".to_owned(), json!(pids))));
    let mut resources = Map::new();
    if !limit.is_empty() {
        resources.insert("limits".to_owned(), Value::Object(limit));
    }
    if let Some(bytes) = limits.memory_reservation {
        resources.insert("reservations".to_owned(), json!({ "memory": size(bytes) }));
    }
    if !resources.is_empty() {
        put("resources", Value::Object(resources));
    }
    let policies = [
        ("rollback_config", service.rollback.as_ref()),
        ("update_config", Some(&service.update)),
    ];
    for (key, policy) in policies {
        let map = policy.map(update).unwrap_or_default();
        if !map.is_empty() || (key == "rollback_config" && policy.is_some()) {
            put(key, Value::Object(map));
        }
    }
    if !service.placement.constraints.is_empty() {
        let value = json!({ "constraints": service.placement.constraints });
        put("placement", value);
    }
    keys.put_if(!map.is_empty(), "deploy", || Value::Object(map));
}

/// An update policy, as far as Compose has keys for it.
fn update(policy: &UpdatePolicy) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |key: &str, wanted: bool, value: Value| {
        if wanted {
            map.insert(key.to_owned(), value);
        }
    };
    let time = |time| json!(go_duration(time));
    let pace = policy.parallelism;
    put("parallelism", pace != 1, json!(pace));
    put("delay", !policy.delay.is_zero(), time(policy.delay));
    let action = match policy.on_failure {
        FailureAction::Pause => None,
        FailureAction::Continue => Some("continue"),
        FailureAction::Rollback => Some("rollback"),
    };
    put("failure_action", action.is_some(), json!(action));
    put("monitor", !policy.monitor.is_zero(), time(policy.monitor));
    let share = f64::from(policy.failures_per_mille) / 1000.0;
    put("max_failure_ratio", share > 0.0, json!(share));
    let order = match policy.order {
        None => None,
        Some(UpdateOrder::StartFirst) => Some("start-first"),
        Some(UpdateOrder::StopFirst) => Some("stop-first"),
    };
    put("order", order.is_some(), json!(order));
    map
}

/// What Compose has no key for.
fn unmoor(service: &Service, keys: &mut Keys) {
    let mut map = Map::new();
    let links = service.links.iter().filter(|link| !is_plain(link, service));
    let links: Vec<Value> = links.map(link).collect();
    if !links.is_empty() {
        map.insert("links".to_owned(), json!(links));
    }
    if !service.update.drain.is_zero() {
        map.insert("drain".to_owned(), json!(go_duration(service.update.drain)));
    }
    if service.security.own_ids {
        map.insert("userns".to_owned(), json!("own"));
    }
    if let Some(mode) = service.address_mode {
        let mode = match mode {
            AddressMode::Stable => "stable",
            AddressMode::Replicas => "replicas",
        };
        map.insert("address_mode".to_owned(), json!(mode));
    }
    if let Some(Bounds { min, max }) = service.bounds {
        let mut bounds = Map::new();
        bounds.insert("min".to_owned(), json!(min));
        if max != u32::MAX {
            bounds.insert("max".to_owned(), json!(max));
        }
        map.insert("replicas".to_owned(), Value::Object(bounds));
    }
    if service.update.deadline != UpdatePolicy::default().deadline {
        let deadline = go_duration(service.update.deadline);
        map.insert("deadline".to_owned(), json!(deadline));
    }
    let drift = match service.drift {
        DriftPolicy::Reconcile => None,
        DriftPolicy::Report => Some("report"),
        DriftPolicy::Ignore => Some("ignore"),
    };
    if let Some(drift) = drift {
        map.insert("drift".to_owned(), json!(drift));
    }
    let (surge, unavailable) = (service.update.max_surge, service.update.max_unavailable);
    let numbers = [
        ("max_surge", surge),
        ("max_unavailable", unavailable),
        ("canary", service.update.canary),
    ];
    for (key, most) in numbers {
        map.extend(most.map(|most| (key.to_owned(), json!(most))));
    }
    if let HealthWish::Check(health) = &service.health {
        let test = match &health.test {
            HealthTest::Tcp { port } => Some(("tcp", json!({ "port": port }))),
            HealthTest::Http { port, path } => {
                Some(("http", json!({ "port": port, "path": path })))
            }
            HealthTest::Exec(_) | HealthTest::Shell(_) => None,
        };
        if let Some((key, test)) = test {
            let mut check = Map::new();
            check.insert(key.to_owned(), test);
            times(health, &mut check);
            map.insert("health".to_owned(), Value::Object(check));
        }
    }
    keys.put_if(!map.is_empty(), "x-unmoor", || Value::Object(map));
}

fn link(link: &Link) -> Value {
    let mut map = Map::new();
    map.insert("service".to_owned(), json!(link.target.service));
    if let Some(stack) = &link.target.stack {
        map.insert("stack".to_owned(), json!(stack));
    }
    map.insert("alias".to_owned(), json!(link.alias));
    if let Some(port) = link.port {
        map.insert("port".to_owned(), json!(port));
    }
    Value::Object(map)
}

/// True if Compose's own `links` says all of it: that also makes the service start later.
pub(super) fn is_plain(link: &Link, service: &Service) -> bool {
    link.target.stack.is_none()
        && link.port.is_none()
        && service.depends_on.contains_key(&link.target.service)
}
