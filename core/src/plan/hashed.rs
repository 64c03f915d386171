//! What of a service makes a running replica outdated, as text to be hashed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::label::Labels;
use crate::name::NetworkName;
use crate::spec::{
    AddressMode, Attachment, BlobGrant, Dns, Exposed, HealthWish, LogBounds, Mount, NetworkMode,
    Published, Resources, RestartPolicy, Security, Service,
};

/// The fields that a replica is made from, in the order in which they were always hashed: another
/// order or name is another hash, and replaces every replica there is.
#[derive(Serialize)]
struct Hashed<'a> {
    platform: &'a Option<String>,
    entrypoint: &'a Option<Vec<String>>,
    command: &'a Option<Vec<String>>,
    environment: &'a BTreeMap<String, String>,
    working_dir: &'a Option<String>,
    user: &'a Option<String>,
    hostname: &'a Option<String>,
    container_name: &'a Option<String>,
    ports: &'a [Published],
    expose: &'a [Exposed],
    network_mode: &'a NetworkMode,
    networks: &'a BTreeMap<NetworkName, Attachment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address_mode: Option<AddressMode>,
    resources: &'a Resources,
    health: &'a HealthWish,
    restart: &'a RestartPolicy,
    mounts: &'a [Mount],
    secrets: &'a [BlobGrant],
    configs: &'a [BlobGrant],
    security: &'a Security,
    labels: &'a Labels,
    extra_hosts: &'a [(String, String)],
    #[serde(skip_serializing_if = "Dns::is_default")]
    dns: &'a Dns,
    tty: bool,
    stdin_open: bool,
    init: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogBounds>,
}

/// The text; two services with the same make the same replicas.
pub(super) fn text(service: &Service) -> String {
    // Every field is named, so that a new one cannot be forgotten here. What is dropped counts,
    // orders, places or links; the image counts by its digest.
    let Service {
        image: _,
        pull: _,
        platform,
        entrypoint,
        command,
        environment,
        working_dir,
        user,
        hostname,
        container_name,
        ports,
        expose,
        network_mode,
        networks,
        address_mode,
        links: _,
        depends_on: _,
        replicas: _,
        bounds: _,
        role: _,
        resources,
        health,
        restart,
        update: _,
        rollback: _,
        drift: _,
        stop: _,
        mounts,
        secrets,
        configs,
        placement: _,
        security,
        labels,
        extra_hosts,
        dns,
        tty,
        stdin_open,
        init,
        log,
        unhonoured: _,
    } = service;
    let hashed = Hashed {
        platform,
        entrypoint,
        command,
        environment,
        working_dir,
        user,
        hostname,
        container_name,
        ports,
        expose,
        network_mode,
        networks,
        address_mode: *address_mode,
        resources,
        health,
        restart,
        mounts,
        secrets,
        configs,
        security,
        labels,
        extra_hosts,
        dns,
        tty: *tty,
        stdin_open: *stdin_open,
        init: *init,
        log: Some(*log).filter(|log| *log != LogBounds::default()),
    };
    serde_json::to_string(&hashed).expect("a service is plain data")
}

#[cfg(test)]
mod tests {
    use crate::compose::{Environment, LoadOptions, Source, load};
    use crate::spec::Service;

    /// Fields that are not hashed.
    const DROPPED: [&str; 13] = [
        "replicas",
        "bounds",
        "placement",
        "pull",
        "depends_on",
        "links",
        "update",
        "rollback",
        "drift",
        "role",
        "stop",
        "image",
        "unhonoured",
    ];

    #[test]
    fn the_text_is_that_of_the_service_less_what_is_dropped() {
        let file = "
services:
  plain: {image: x}
  full:
    image: x:2
    platform: linux/arm64
    entrypoint: [a]
    command: b c
    environment: {A: 'ü \"'}
    working_dir: /w
    user: '1:2'
    hostname: h
    container_name: nn
    ports: ['127.0.0.1:80-81:80-81/udp']
    expose: ['90']
    networks: {one: {aliases: [z]}}
    mem_limit: 64m
    cpus: 0.5
    pids_limit: 7
    cpu_shares: 512
    group_add: [5, audio]
    logging: {options: {max-size: 1m, max-file: '2'}}
    healthcheck: {test: a, interval: 3s}
    restart: on-failure:3
    volumes: ['/a:/b:ro', 'data:/d']
    tmpfs: /t
    configs: [c]
    secrets: [s]
    cap_add: [NET_ADMIN]
    ulimits: {nofile: 10}
    labels: {a: b}
    extra_hosts: ['a=192.0.2.1']
    dns: 192.0.2.2
    dns_search: [a.test]
    dns_opt: ['ndots:2']
    tty: true
    stdin_open: true
    init: true
    stop_grace_period: 3s
    depends_on: [plain]
    links: [plain]
    scale: 1
    x-unmoor: {address_mode: replicas, userns: own, drain: 3s}
networks: {one: {}}
volumes: {data: {}}
configs: {c: {content: a}}
secrets: {s: {file: ./s}}
";
        let source = Source::new("c.yaml", file).directory("/t");
        let loaded = load(&[source], &Environment::new(), &LoadOptions::default());
        for (name, service) in &loaded.expect("valid").stack.services {
            assert_eq!(super::text(service), slow(service), "{name}");
        }
    }

    fn slow(service: &Service) -> String {
        let mut value = serde_json::to_value(service).expect("plain data");
        let fields = value.as_object_mut().expect("a struct");
        fields.retain(|key, _| !DROPPED.contains(&key.as_str()));
        value.to_string()
    }
}
