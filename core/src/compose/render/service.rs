//! A service as docker compose prints it.

use serde_json::{Map, Value, json};

use crate::spec::{
    BlobGrant, Condition, HealthTest, HealthWish, Link, Mount, MountSource, NetworkMode, Published,
    PullPolicy, RestartPolicy, Role, Service, UpdateOrder,
};
use crate::units::{Bytes, MilliCpu};

use super::go_duration;

/// Keys with values, in the order of the keys.
struct Keys(Map<String, Value>);

impl Keys {
    fn put(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    fn put_if(&mut self, wanted: bool, key: &str, value: impl FnOnce() -> Value) {
        if wanted {
            self.put(key, value());
        }
    }

    fn put_some<T>(&mut self, key: &str, value: Option<&T>, json: impl FnOnce(&T) -> Value) {
        if let Some(value) = value {
            self.put(key, json(value));
        }
    }

    fn sorted(self) -> Value {
        let mut entries: Vec<_> = self.0.into_iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Value::Object(entries.into_iter().collect())
    }
}

/// The service as a JSON value.
pub(super) fn to_json(service: &Service) -> Value {
    let mut keys = Keys(Map::new());
    process(service, &mut keys);
    network(service, &mut keys);
    files(service, &mut keys);
    care(service, &mut keys);
    security(service, &mut keys);
    keys.sorted()
}

fn process(service: &Service, keys: &mut Keys) {
    keys.put("image", json!(service.image.familiar()));
    keys.put("command", json!(service.command));
    keys.put("entrypoint", json!(service.entrypoint));
    keys.put_if(!service.environment.is_empty(), "environment", || {
        json!(service.environment)
    });
    keys.put_if(!service.labels.is_empty(), "labels", || {
        json!(service.labels)
    });
    let texts = [
        ("container_name", &service.container_name),
        ("hostname", &service.hostname),
        ("platform", &service.platform),
        ("stop_signal", &service.stop.signal),
        ("user", &service.user),
        ("working_dir", &service.working_dir),
    ];
    for (key, text) in texts {
        keys.put_some(key, text.as_ref(), |text| json!(text));
    }
    keys.put_some("stop_grace_period", service.stop.grace.as_ref(), |grace| {
        json!(go_duration(*grace))
    });
    for (key, flag) in [
        ("init", service.init),
        ("stdin_open", service.stdin_open),
        ("tty", service.tty),
    ] {
        keys.put_if(flag, key, || json!(true));
    }
    match service.pull {
        PullPolicy::Missing => {}
        PullPolicy::Always => keys.put("pull_policy", json!("always")),
        PullPolicy::Never => keys.put("pull_policy", json!("never")),
    }
}

fn network(service: &Service, keys: &mut Keys) {
    match service.network_mode {
        NetworkMode::None => keys.put("network_mode", json!("none")),
        NetworkMode::Host => keys.put("network_mode", json!("host")),
        NetworkMode::Networks if service.networks.is_empty() => {
            keys.put("networks", json!({ "default": null }));
        }
        NetworkMode::Networks => {
            let entries = service.networks.iter().map(|(name, attachment)| {
                let value = if attachment.aliases.is_empty() {
                    Value::Null
                } else {
                    json!({ "aliases": attachment.aliases })
                };
                (name.to_string(), value)
            });
            keys.put("networks", Value::Object(entries.collect()));
        }
    }
    let hosts = &service.extra_hosts;
    keys.put_if(!hosts.is_empty(), "extra_hosts", || {
        let lines = hosts
            .iter()
            .map(|(name, address)| format!("{name}={address}"));
        json!(lines.collect::<Vec<_>>())
    });
    let implied = |link: &&Link| is_plain(link, service);
    let links = service.links.iter().filter(implied);
    let links: Vec<String> = links
        .map(|link| format!("{}:{}", link.target.service, link.alias))
        .collect();
    keys.put_if(!links.is_empty(), "links", || json!(links));
    keys.put_if(!service.ports.is_empty(), "ports", || {
        json!(service.ports.iter().map(port).collect::<Vec<_>>())
    });
    keys.put_if(!service.expose.is_empty(), "expose", || {
        let lines = service.expose.iter().map(|exposed| match exposed.protocol {
            crate::spec::Protocol::Tcp => exposed.port.to_string(),
            other => format!("{}/{other}", exposed.port),
        });
        json!(lines.collect::<Vec<_>>())
    });
}

/// True if Compose's own `links` says all of it: that also makes the service start later.
fn is_plain(link: &Link, service: &Service) -> bool {
    link.target.stack.is_none()
        && link.port.is_none()
        && service.depends_on.contains_key(&link.target.service)
}

fn port(port: &Published) -> Value {
    let mut map = Map::new();
    map.insert("mode".to_owned(), json!("ingress"));
    if let Some(ip) = port.host_ip {
        map.insert("host_ip".to_owned(), json!(ip));
    }
    map.insert("target".to_owned(), json!(port.target));
    if let Some(range) = port.host_port {
        map.insert("published".to_owned(), json!(range.to_string()));
    }
    map.insert("protocol".to_owned(), json!(port.protocol));
    Value::Object(map)
}

fn files(service: &Service, keys: &mut Keys) {
    keys.put_if(!service.mounts.is_empty(), "volumes", || {
        json!(service.mounts.iter().map(mount).collect::<Vec<_>>())
    });
    for (key, grants) in [("configs", &service.configs), ("secrets", &service.secrets)] {
        keys.put_if(!grants.is_empty(), key, || {
            json!(grants.iter().map(grant).collect::<Vec<_>>())
        });
    }
}

fn mount(mount: &Mount) -> Value {
    let mut map = Map::new();
    let (kind, source, options) = match &mount.source {
        MountSource::Volume(name) => ("volume", Some(json!(name)), ("volume", json!({}))),
        MountSource::Anonymous => ("volume", None, ("volume", json!({}))),
        MountSource::Bind { path, create } => (
            "bind",
            Some(json!(path)),
            ("bind", json!({ "create_host_path": create })),
        ),
        MountSource::Tmpfs { size, mode } => {
            let mut options = Map::new();
            if let Some(size) = size {
                options.insert("size".to_owned(), json!(size.0.to_string()));
            }
            options.insert("mode".to_owned(), json!(format!("0{mode:o}")));
            ("tmpfs", None, ("tmpfs", Value::Object(options)))
        }
    };
    map.insert("type".to_owned(), json!(kind));
    if let Some(source) = source {
        map.insert("source".to_owned(), source);
    }
    map.insert("target".to_owned(), json!(mount.target));
    if mount.read_only {
        map.insert("read_only".to_owned(), json!(true));
    }
    map.insert(options.0.to_owned(), options.1);
    Value::Object(map)
}

fn grant(grant: &BlobGrant) -> Value {
    let mut map = Map::new();
    map.insert("source".to_owned(), json!(grant.name));
    map.insert("target".to_owned(), json!(grant.target));
    if (grant.uid, grant.gid) != (0, 0) {
        map.insert("uid".to_owned(), json!(grant.uid.to_string()));
        map.insert("gid".to_owned(), json!(grant.gid.to_string()));
    }
    if grant.mode != 0o444 {
        map.insert("mode".to_owned(), json!(format!("0{:o}", grant.mode)));
    }
    Value::Object(map)
}

fn care(service: &Service, keys: &mut Keys) {
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

fn times(health: &crate::spec::Health, map: &mut Map<String, Value>) {
    let default = crate::spec::Health::new(HealthTest::Exec(Vec::new()));
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

fn security(service: &Service, keys: &mut Keys) {
    let security = &service.security;
    keys.put_if(security.privileged, "privileged", || json!(true));
    keys.put_if(security.read_only, "read_only", || json!(true));
    for (key, list) in [
        ("cap_add", &security.cap_add),
        ("cap_drop", &security.cap_drop),
    ] {
        keys.put_if(!list.is_empty(), key, || json!(list));
    }
    keys.put_if(!security.sysctls.is_empty(), "sysctls", || {
        json!(security.sysctls)
    });
    let number = |limit: u64| {
        if limit == u64::MAX {
            json!(-1)
        } else {
            json!(limit)
        }
    };
    keys.put_if(!security.ulimits.is_empty(), "ulimits", || {
        let entries = security.ulimits.iter().map(|(name, limit)| {
            let value = if limit.soft == limit.hard {
                number(limit.soft)
            } else {
                json!({ "soft": number(limit.soft), "hard": number(limit.hard) })
            };
            (name.clone(), value)
        });
        Value::Object(entries.collect())
    });
    let mut options = Vec::new();
    match security.new_privileges {
        Some(false) => options.push("no-new-privileges:true"),
        Some(true) => options.push("no-new-privileges:false"),
        None => {}
    }
    if security.seccomp_unconfined {
        options.push("seccomp:unconfined");
    }
    keys.put_if(!options.is_empty(), "security_opt", || json!(options));
}
