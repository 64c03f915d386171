//! Every key of a service, and what becomes of it: what `check` says and what `plan` does is one
//! and the same, no key is dropped in silence, and `docs/compose.md` lists the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use unmoor::compose::service_keys;

use crate::place::Place;

/// A value for each key that asks for something; further lines are other ways to use it.
const SAMPLES: &str = "
annotations: {a: b}
attach: false
blkio_config: {weight: 300}
build: {context: .}
cap_add: [NET_ADMIN]
cap_drop: [ALL]
cgroup: host
cgroup_parent: /x
command: [a]
configs: [c]
container_name: fixed
cpu_count: 1
cpu_percent: 50
cpu_period: 50000
cpu_quota: 50000
cpu_rt_period: 1000
cpu_rt_runtime: 1000
cpu_shares: 512
cpus: 0.5
cpuset: '0'
credential_spec: {file: x}
depends_on: [k-image]
depends_on: {k-scale: {condition: service_completed_successfully}}
depends_on: {k-image: {condition: service_started, restart: true, required: false}}
deploy: {replicas: 2}
deploy: {mode: global}
deploy: {endpoint_mode: dnsrr}
deploy: {labels: {a: b}}
deploy: {placement: {constraints: ['node.labels.a == b']}}
deploy: {placement: {preferences: [{spread: a}], max_replicas_per_node: 1}}
deploy: {resources: {limits: {cpus: '0.5', memory: 64m, pids: 9}, reservations: {memory: 32m, cpus: '0.1'}}}
deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}
deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: a, value: 1}}]}}}
deploy: {restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 9s}}
deploy: {update_config: {parallelism: 2, delay: 1s, order: start-first}, rollback_config: {parallelism: 1}}
develop: {watch: [{path: ., action: sync, target: /x}]}
device_cgroup_rules: ['c 1:3 mr']
devices: ['/dev/null:/dev/x']
dns: [192.0.2.1]
dns_opt: [use-vc]
dns_search: [example.org]
domainname: example.org
entrypoint: [a]
env_file: [some.env]
environment: {A: b}
expose: ['80']
extends: {file: other.yaml, service: base}
external_links: [other]
extra_hosts: ['a=192.0.2.1']
gpus: all
group_add: ['5']
healthcheck: {test: [CMD, a]}
healthcheck: {test: [CMD-SHELL, a], interval: 1s, timeout: 1s, retries: 2, start_period: 1s, start_interval: 1s}
hostname: h
image: x
init: true
ipc: host
ipc: shareable
isolation: default
label_file: [some.env]
labels: {a: b}
links: [k-image]
logging: {driver: syslog}
logging: {driver: json-file, options: {max-size: 1m}}
mac_address: 02:42:ac:11:65:43
mem_limit: 64m
mem_reservation: 32m
mem_swappiness: 10
memswap_limit: 128m
models: [m]
network_mode: host
network_mode: none
network_mode: bridge
network_mode: service:k-image
networks: [n]
networks: {n: {aliases: [a], ipv4_address: 10.9.0.8, link_local_ips: [169.254.8.8], mac_address: 02:42:ac:11:65:43, driver_opts: {a: b}, priority: 1, gw_priority: 1, interface_name: eth9}}
oom_kill_disable: true
oom_score_adj: 100
pid: host
pids_limit: 10
platform: linux/amd64
ports: ['8080:80']
ports: [{target: 81, published: '8081', name: a, app_protocol: http, mode: host}]
ports: ['5000:5000/udp']
ports: ['5001:5001/sctp']
ports: ['127.0.0.1:9000-9001:9000-9001']
post_start: [{command: [a]}]
pre_start: [{command: [a]}]
pre_stop: [{command: [a]}]
privileged: true
profiles: [p]
provider: {type: x}
pull_policy: always
pull_policy: build
pull_policy: daily
pull_policy: never
pull_refresh_after: 24h
read_only: true
restart: always
runtime: other
scale: 2
secrets: [s]
security_opt: ['seccomp:./x.json']
security_opt: ['apparmor:x']
security_opt: ['no-new-privileges:true']
security_opt: ['seccomp:unconfined']
shm_size: 64m
stdin_open: true
stop_grace_period: 5s
stop_signal: SIGINT
storage_opt: {size: 1G}
sysctls: {net.core.somaxconn: '1024'}
tmpfs: [/run]
tmpfs: ['/run:size=1m,mode=700,uid=5']
tty: true
ulimits: {nofile: 1024}
use_api_socket: true
user: '1000'
user: 'a:b'
userns_mode: host
uts: host
volumes: ['data:/v']
volumes: ['.:/v']
volumes: ['.:/v:z,rslave']
volumes: [{type: tmpfs, target: /v, tmpfs: {size: 1m, mode: 0700}}]
volumes: [{type: volume, source: data, target: /v, volume: {nocopy: true}}]
volumes: [{type: volume, source: data, target: /v, volume: {subpath: a}}]
volumes: [{type: volume, source: data, target: /v, volume: {labels: {a: b}}}]
volumes: [{type: bind, source: ., target: /v, bind: {recursive: disabled}}]
volumes: [{type: image, source: x, target: /v}]
volumes: [{type: bind, source: ., target: /v, consistency: cached}]
volumes_from: [k-image]
working_dir: /w
";

/// What top-level keys have parts, one each, with what stands there.
const AROUND: &str = "
networks:
  n: {}
  attachable: {attachable: true}
  driver: {driver: macvlan}
  driver_opts: {driver_opts: {a: b}}
  enable_ipv4: {enable_ipv4: false}
  enable_ipv6: {enable_ipv6: true}
  external: {external: true}
  internal: {internal: true}
  ipam: {ipam: {config: [{subnet: 10.9.0.0/24, gateway: 10.9.0.9}]}}
  labels: {labels: {a: b}}
  name: {name: other}
volumes:
  data: {}
  driver: {driver: nfs}
  driver_opts: {driver_opts: {type: nfs}}
  external: {external: true}
  labels: {labels: {a: b}}
  name: {name: other}
secrets:
  s: {file: ./some.env}
  environment: {environment: A}
  external: {external: true}
  labels: {file: ./some.env, labels: {a: b}}
  name: {file: ./some.env, name: other}
configs:
  c: {content: a}
  environment: {environment: A}
  external: {external: true}
  file: {file: ./some.env}
  labels: {content: a, labels: {a: b}}
  name: {content: a, name: other}
  template_driver: {content: a, template_driver: x}
models:
  m: {model: ai/x}
x-other: {a: b}
";

/// Keys of a service that become other keys when files are read.
const TAKEN_IN: [&str; 3] = ["env_file", "extends", "label_file"];

/// A service of the file: the key that it is about, its name, its value.
type Sample = (&'static str, String, &'static str);

fn samples() -> Vec<Sample> {
    let lines = SAMPLES.lines().filter_map(|line| line.split_once(": "));
    let mut found: Vec<Sample> = Vec::new();
    for (key, value) in lines {
        let same = found.iter().filter(|(other, ..)| *other == key).count();
        let name = match same {
            0 => format!("k-{key}"),
            more => format!("k-{key}-{}", more + 1),
        };
        found.push((key, name, value));
    }
    found
}

/// A file with a service for each sample and each part around, less those that are `refused`.
fn place(refused: &BTreeSet<&str>) -> Place {
    let owners: BTreeSet<&str> = refused.iter().map(|field| owner(field)).collect();
    let mut file = "name: keys\nservices:\n".to_owned();
    for (key, name, value) in samples() {
        if owners.contains(format!("services.{name}").as_str()) {
            continue;
        }
        file.push_str(&format!("  {name}:\n"));
        if key != "image" {
            file.push_str("    image: x\n");
        }
        file.push_str(&format!("    {key}: {value}\n"));
    }
    let mut around = String::new();
    let mut section = "";
    for line in AROUND.lines().filter(|line| !line.is_empty()) {
        match line
            .strip_prefix("  ")
            .and_then(|part| part.split_once(':'))
        {
            Some((name, _)) if owners.contains(format!("{section}.{name}").as_str()) => continue,
            Some((name, _)) if !matches!(section, "models" | "") => {
                // What nothing uses is not in the document.
                let mount = if section == "volumes" { ":/v" } else { "" };
                file.push_str(&format!("  u-{section}-{name}:\n    image: x\n"));
                file.push_str(&format!("    {section}: ['{name}{mount}']\n"));
            }
            Some(_) if section.is_empty() => continue,
            Some(_) => {}
            None if owners.contains(line.trim_end_matches(':')) => {
                section = "";
                continue;
            }
            None => section = line.trim_end_matches(':'),
        }
        if !section.is_empty() {
            around.push_str(line);
            around.push('\n');
        }
    }
    let place = Place::with(&(file + &around));
    place.write("some.env", "A=b\n");
    place.write("other.yaml", "services: {base: {image: x, user: '7'}}\n");
    place
}

fn run(place: &Place, backend: &str, words: &[&str]) -> crate::place::Ran {
    let before = ["--profile", "*", "-b", backend];
    place.run(&[&before, words].concat())
}

/// What `check` says: verdicts by field, the worst of each, with the remarks.
fn verdicts(place: &Place, backend: &str) -> BTreeMap<String, (String, String)> {
    let ran = run(place, backend, &["check", "--all", "--format", "json"]);
    let list: serde_json::Value = serde_json::from_str(&ran.out)
        .unwrap_or_else(|error| panic!("{error}: {} {}", ran.out, ran.err));
    const ORDER: [&str; 5] = ["exact", "emulated", "limited", "ignored", "refused"];
    let rank = |word: &str| ORDER.iter().position(|known| *known == word);
    let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
    for row in list.as_array().expect("a list") {
        let text = |key: &str| row[key].as_str().expect("a text").to_owned();
        let remark = match (text("remark"), text("instead")) {
            (remark, instead) if instead.is_empty() => remark,
            (remark, instead) => format!("{remark}; {instead}"),
        };
        let new = (text("verdict"), remark);
        assert!(rank(&new.0).is_some(), "{row}");
        assert!(!text("place").is_empty(), "no place: {row}");
        let old = found.entry(text("field")).or_insert_with(|| new.clone());
        if rank(&new.0) > rank(&old.0) {
            *old = new;
        }
    }
    let refused = found.values().any(|(word, _)| word == "refused");
    assert_eq!(ran.code, Some(i32::from(refused)), "{}", ran.err);
    found
}

/// The worst verdict on a key or a part of it.
fn about<'v>(
    verdicts: &'v BTreeMap<String, (String, String)>,
    path: &str,
) -> Option<(&'v str, &'v str)> {
    let parts = verdicts.iter().filter(|(field, _)| {
        let rest = field.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    let worst = parts.max_by_key(|(_, (word, _))| match word.as_str() {
        "refused" => 4,
        "ignored" => 3,
        "limited" => 2,
        "emulated" => 1,
        _ => 0,
    });
    worst.map(|(_, (word, remark))| (word.as_str(), remark.as_str()))
}

/// The verdict on a key of a service: of the service as a whole if the key stands for others.
fn on_key<'v>(
    verdicts: &'v BTreeMap<String, (String, String)>,
    key: &str,
    name: &str,
) -> Option<(&'v str, &'v str)> {
    let own = about(verdicts, &format!("services.{name}.{key}"));
    let another = match key {
        "scale" => "deploy.replicas",
        "cpu_quota" => "cpus",
        "shm_size" => "tmpfs",
        _ => return own,
    };
    let another = about(verdicts, &format!("services.{name}.{another}"));
    another.filter(|(word, _)| *word != "exact").or(own)
}

fn fields_of<'v>(
    verdicts: &'v BTreeMap<String, (String, String)>,
    word: &str,
) -> BTreeSet<&'v str> {
    let of = verdicts.iter().filter(|(_, (found, _))| found == word);
    of.map(|(field, _)| field.as_str()).collect()
}

/// The service whose field this is, or the part of the stack.
fn owner(field: &str) -> &str {
    let end = field.match_indices('.').nth(1).map(|(at, _)| at);
    &field[..end.unwrap_or(field.len())]
}

/// Those of the fields that a message is about, with a place.
fn named<'f>(text: &str, fields: &BTreeSet<&'f str>) -> BTreeSet<&'f str> {
    let is_told = |field: &&&str| {
        text.lines().any(|line| {
            let at = line.find(*field);
            let rest = at.map(|at| &line[at + field.len()..]);
            line.contains("compose.yaml:") && rest.is_some_and(|rest| rest.starts_with(':'))
        })
    };
    fields.iter().filter(is_told).copied().collect()
}

#[test]
fn there_is_a_sample_for_every_key() {
    let known: BTreeSet<&str> = service_keys().collect();
    let sampled: BTreeSet<&str> = samples().into_iter().map(|(key, ..)| key).collect();
    assert_eq!(sampled, known);
}

#[test]
fn check_and_plan_agree_about_every_key() {
    let folder = tempfile::tempdir().expect("a folder");
    for backend in ["sim:", &format!("local://{}", folder.path().display())] {
        let whole = place(&BTreeSet::new());
        let verdicts = verdicts(&whole, backend);
        for (key, name, _) in samples() {
            let dropped = on_key(&verdicts, key, &name).is_none() && !TAKEN_IN.contains(&key);
            assert!(!dropped, "{backend}: nothing is said of `{key}` of {name}");
        }
        let refused = fields_of(&verdicts, "refused");
        // What nobody does is told first, then what this backend cannot; each with its line.
        let ran = run(&whole, backend, &["plan"]);
        assert_eq!(ran.code, Some(1), "{backend}: {}", ran.err);
        let first = named(errors(&ran.err), &refused);
        let second = run(&place(&first), backend, &["plan"]);
        let then = named(errors(&second.err), &refused);
        let told: BTreeSet<&str> = first.union(&then).copied().collect();
        assert_eq!(told, refused, "{backend}: {}\n{}", ran.err, second.err);
        let ran = run(&place(&refused), backend, &["plan"]);
        let is_refused = ran.err.contains("unsupported") || ran.err.contains("cannot do");
        assert!(!is_refused, "{backend}: {}", ran.err);
        for field in fields_of(&verdicts, "ignored") {
            let kept = !refused.iter().any(|other| owner(other) == owner(field));
            let is_told = ran.err.contains(&format!(" {field}: "));
            assert!(!kept || is_told, "{backend}: no warning of {field}");
        }
    }
}

/// What is said from the first error on.
fn errors(text: &str) -> &str {
    text.find("error:").map_or("", |at| &text[at..])
}

/// Fields that a host without some controllers, or with another firewall, cannot have.
const BY_HOST: [&str; 5] = [
    "cpus",
    "mem_limit",
    "mem_reservation",
    "pids_limit",
    "ports",
];

/// The rows of the page: fields without their service, with verdict and remark.
fn rows(verdicts: &BTreeMap<String, (String, String)>) -> BTreeMap<String, (String, String)> {
    let mut rows = BTreeMap::new();
    for (field, (word, remark)) in verdicts.iter().filter(|(_, (word, _))| word != "exact") {
        let parts: Vec<&str> = field.splitn(3, '.').collect();
        let shown = match parts[..] {
            ["services", service, rest] => way(service, rest),
            [section, _, rest] => format!("top-level {section}.{rest}"),
            _ => field.clone(),
        };
        let shown = shown.replace("[0]", "");
        let is_by_host = BY_HOST
            .iter()
            .any(|key| shown.split(':').next() == Some(key));
        if !is_by_host {
            rows.entry(shown).or_insert((word.clone(), remark.clone()));
        }
    }
    rows
}

/// A field of a service, with its value where several ways to use the key were tried.
fn way(service: &str, field: &str) -> String {
    let all = samples();
    let sample = all.iter().find(|(_, name, _)| name == service);
    let Some((key, _, value)) = sample.filter(|(key, ..)| field.replace("[0]", "") == *key) else {
        return field.to_owned();
    };
    match all.iter().filter(|(other, ..)| other == key).count() {
        1 => field.to_owned(),
        _ => format!("{key}: {value}"),
    }
}

const START: &str =
    "<!-- keys: made by `UPDATE_GOLDEN=1 cargo nextest run -p unmoor-cli page_of_keys` -->\n";
const END: &str = "<!-- end of keys -->\n";

#[test]
fn the_page_of_keys_is_what_local_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = format!("local://{}", folder.path().display());
    let verdicts = verdicts(&place(&BTreeSet::new()), &backend);
    let rows = rows(&verdicts);
    let exact = service_keys().filter(|key| {
        let is_about = |field: &String| field.split(['.', ':']).next() == Some(*key);
        !rows.keys().any(is_about)
    });
    let exact: Vec<String> = exact.map(|key| format!("`{key}`")).collect();
    let mut text = format!(
        "Exact, as far as tried: {}.\n\n| key | verdict | what follows |\n|---|---|---|\n",
        exact.join(", ")
    );
    for (field, (word, remark)) in &rows {
        text.push_str(&format!(
            "| `{field}` | {word} | {} |\n",
            remark.replace('|', "\\|")
        ));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compose.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page.split_once(START).expect("it has its marks");
    let (written, after) = rest.split_once(END).expect("it has its marks");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, [before, START, &text, END, after].concat()).expect("it is written");
    } else {
        assert_eq!(written, text);
    }
}
