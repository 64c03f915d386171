//! How a service is kept, as docker compose prints it; what Compose has no key for, as we do.

use serde_json::{Map, Value, json};

use crate::spec::{
    Bounds, Condition, Health, HealthTest, HealthWish, Link, RestartPolicy, Role, Service,
    UpdateOrder,
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
    let mut update = Map::new();
    if service.update.parallelism != 1 {
        update.insert("parallelism".to_owned(), json!(service.update.parallelism));
    }
    if let Some(order) = service.update.order {
        let order = match order {
            UpdateOrder::StartFirst => "start-first",
            UpdateOrder::StopFirst => "stop-first",
        };
        update.insert("order".to_owned(), json!(order));
    }
    if !update.is_empty() {
        put("update_config", Value::Object(update));
    }
    if !service.placement.constraints.is_empty() {
        let value = json!({ "constraints": service.placement.constraints });
        put("placement", value);
    }
    keys.put_if(!map.is_empty(), "deploy", || Value::Object(map));
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
    if let Some(Bounds { min, max }) = service.bounds {
        let mut bounds = Map::new();
        bounds.insert("min".to_owned(), json!(min));
        if max != u32::MAX {
            bounds.insert("max".to_owned(), json!(max));
        }
        map.insert("replicas".to_owned(), Value::Object(bounds));
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
