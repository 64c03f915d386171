//! A service as docker compose prints it.

use serde_json::{Map, Value, json};

use crate::spec::{BlobGrant, Mount, MountSource, NetworkMode, Published, PullPolicy, Service};

use super::{care, go_duration};

/// Keys with values, in the order of the keys.
pub(super) struct Keys(Map<String, Value>);

impl Keys {
    pub(super) fn put(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    pub(super) fn put_if(&mut self, wanted: bool, key: &str, value: impl FnOnce() -> Value) {
        if wanted {
            self.put(key, value());
        }
    }

    pub(super) fn put_some<T>(
        &mut self,
        key: &str,
        value: Option<&T>,
        json: impl FnOnce(&T) -> Value,
    ) {
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
    care::put(service, &mut keys);
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
    keys.put_some("cpu_shares", service.resources.cpu_shares.as_ref(), |n| {
        json!(n)
    });
    logging(service, keys);
    match service.pull {
        PullPolicy::Missing => {}
        PullPolicy::Always => keys.put("pull_policy", json!("always")),
        PullPolicy::Never => keys.put("pull_policy", json!("never")),
    }
}

fn logging(service: &Service, keys: &mut Keys) {
    let mut options = Map::new();
    if let Some(size) = service.log.max_size {
        options.insert("max-size".to_owned(), json!(size.0.to_string()));
    }
    if let Some(files) = service.log.max_files {
        options.insert("max-file".to_owned(), json!(files.to_string()));
    }
    keys.put_if(
        !options.is_empty(),
        "logging",
        || json!({ "options": options }),
    );
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
    let dns = &service.dns;
    keys.put_if(!dns.servers.is_empty(), "dns", || json!(dns.servers));
    keys.put_if(!dns.search.is_empty(), "dns_search", || json!(dns.search));
    keys.put_if(!dns.options.is_empty(), "dns_opt", || json!(dns.options));
    let hosts = &service.extra_hosts;
    keys.put_if(!hosts.is_empty(), "extra_hosts", || {
        let lines = hosts
            .iter()
            .map(|(name, address)| format!("{name}={address}"));
        json!(lines.collect::<Vec<_>>())
    });
    let links = service
        .links
        .iter()
        .filter(|link| care::is_plain(link, service));
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

fn port(port: &Published) -> Value {
    let mut map = Map::new();
    if let Some(name) = &port.name {
        map.insert("name".to_owned(), json!(name));
    }
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
            options.insert("mode".to_owned(), json!(mode));
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

fn security(service: &Service, keys: &mut Keys) {
    let security = &service.security;
    keys.put_if(security.privileged, "privileged", || json!(true));
    keys.put_if(security.read_only, "read_only", || json!(true));
    for (key, list) in [
        ("cap_add", &security.cap_add),
        ("cap_drop", &security.cap_drop),
        ("group_add", &security.groups),
    ] {
        keys.put_if(!list.is_empty(), key, || json!(list));
    }
    keys.put_if(!security.devices.is_empty(), "devices", || {
        let entries = security.devices.iter().map(|device| {
            json!({
                "source": device.source,
                "target": device.target,
                "permissions": device.access,
            })
        });
        Value::Array(entries.collect())
    });
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
