//! The keys of a service.

use super::Form::{
    Bytes, Choice, Command, Count, EnvFiles, Flag, Float, Hosts, ManyOptions, Named, Options,
    Pairs, Part, Parts, Printed, Ssh, Strict, Stringified, Test, Text, Texts, TimeOrZero, Ulimits,
    Value, Variables, Whole, WholeOrZero,
};
use super::deploy::DEPLOY;
use super::shapes::{
    COMMAND, DRIVER_OPTIONS, FLAG_ONLY, FLAG_TEXT, FREE_MAP, GPUS, GRANTS, HOOK, HOOKS, HOSTS,
    LOG_OPTIONS, MANY_OPTIONS, NULL_TEXT, NUMBER_ONLY, NUMBER_SET, NUMBER_TEXT, PAIRS, TEXT_LIST,
    TEXT_ONLY, TEXT_OR_LIST, TEXT_OR_SET, TEXT_SET, ULIMITS, WHOLE_TEXT,
};
use super::{Field, Form, NULL, NUMBER, Others, Shape, TEXT, WHOLE};

const fn f(key: &'static str, shape: &'static Shape, form: Form) -> Field {
    Field::new(key, shape, form)
}

/// A service; the order is that of printing.
pub(super) static SERVICE: Shape = Shape::scalar(0).part(&SERVICE_KEYS);

static SERVICE_KEYS: [Field; 93] = [
    f("profiles", &TEXT_SET, Texts),
    f("annotations", &PAIRS, Pairs),
    f("attach", &FLAG_TEXT, Choice),
    f("build", &BUILD, Part),
    f("develop", &DEVELOP, Part),
    f("blkio_config", &BLKIO, Part),
    f("cap_add", &TEXT_SET, Texts),
    f("cap_drop", &TEXT_SET, Texts),
    f("cgroup_parent", &TEXT_ONLY, Text),
    f("cgroup", &CGROUP, Text),
    f("cpu_count", &NOT_NEGATIVE, Whole),
    f("cpu_percent", &PERCENT, Float),
    f("cpu_period", &NUMBER_TEXT, Whole),
    f("cpu_quota", &NUMBER_TEXT, Whole),
    f("cpu_rt_period", &NUMBER_TEXT, Whole),
    f("cpu_rt_runtime", &NUMBER_TEXT, Whole),
    f("cpus", &NUMBER_TEXT, Float),
    f("cpuset", &TEXT_ONLY, Text),
    f("cpu_shares", &NUMBER_TEXT, Whole),
    f("command", &COMMAND, Command),
    f("configs", &GRANTS, Parts),
    f("container_name", &CONTAINER_NAME, Text),
    f("credential_spec", &CREDENTIALS, Part),
    f("depends_on", &DEPENDS_ON, Form::Section),
    f("deploy", &DEPLOY, Part),
    f("device_cgroup_rules", &TEXT_SET, Texts),
    f("devices", &MAPPED_DEVICES, Parts),
    f("dns", &TEXT_OR_SET, Texts),
    f("dns_opt", &TEXT_SET, Texts),
    f("dns_search", &TEXT_OR_SET, Texts),
    f("domainname", &TEXT_ONLY, Text),
    f("entrypoint", &COMMAND, Command),
    f("provider", &PROVIDER, Part),
    f("environment", &PAIRS, Variables),
    f("env_file", &ENV_FILES, EnvFiles),
    f("expose", &NUMBER_SET, Printed),
    f("extends", &EXTENDS, Part),
    f("external_links", &TEXT_SET, Texts),
    f("extra_hosts", &HOSTS, Hosts),
    f("group_add", &NUMBER_SET, Texts),
    f("gpus", &GPUS, Parts),
    f("hostname", &TEXT_ONLY, Text),
    f("healthcheck", &HEALTH, Part),
    f("image", &TEXT_ONLY, Text),
    f("init", &FLAG_TEXT, Choice),
    f("ipc", &TEXT_ONLY, Text),
    f("isolation", &TEXT_ONLY, Text),
    f("labels", &PAIRS, Pairs),
    f("label_file", &TEXT_OR_LIST, Texts),
    f("links", &TEXT_SET, Texts),
    f("logging", &LOGGING, Part),
    f("mem_limit", &NUMBER_TEXT, Bytes),
    f("mem_reservation", &WHOLE_TEXT, Bytes),
    f("memswap_limit", &NUMBER_TEXT, Bytes),
    f("mem_swappiness", &WHOLE_TEXT, Bytes),
    f("mac_address", &TEXT_ONLY, Text),
    f("models", &MODELS, Named),
    f("network_mode", &TEXT_ONLY, Text),
    f("networks", &NETWORKS, Named),
    f("oom_kill_disable", &FLAG_TEXT, Flag),
    f("oom_score_adj", &OOM_SCORE, Whole),
    f("pid", &NULL_TEXT, Text),
    f("pids_limit", &NUMBER_TEXT, Whole),
    f("platform", &TEXT_ONLY, Text),
    f("ports", &PORTS, Parts),
    f("privileged", &FLAG_TEXT, Flag),
    f("pull_policy", &PULL_POLICY, Text),
    f("pull_refresh_after", &TEXT_ONLY, Form::Drop),
    f("read_only", &FLAG_TEXT, Flag),
    f("restart", &TEXT_ONLY, Text),
    f("runtime", &TEXT_ONLY, Text),
    f("scale", &WHOLE_TEXT, WholeOrZero),
    f("secrets", &GRANTS, Parts),
    f("security_opt", &TEXT_SET, Texts),
    f("shm_size", &NUMBER_TEXT, Bytes),
    f("stdin_open", &FLAG_TEXT, Flag),
    f("stop_grace_period", &TEXT_ONLY, TimeOrZero),
    f("stop_signal", &TEXT_ONLY, Text),
    f("storage_opt", &FREE_MAP, Strict),
    f("sysctls", &PAIRS, Pairs),
    f("tmpfs", &TEXT_OR_SET, Texts),
    f("tty", &FLAG_TEXT, Flag),
    f("ulimits", &ULIMITS, Ulimits),
    f("use_api_socket", &FLAG_ONLY, Flag),
    f("user", &TEXT_ONLY, Text),
    f("userns_mode", &TEXT_ONLY, Text),
    f("uts", &TEXT_ONLY, Text),
    f("volumes", &VOLUMES, Parts),
    f("volumes_from", &TEXT_SET, Texts),
    f("working_dir", &TEXT_ONLY, Text),
    f("pre_start", &HOOKS, Parts),
    f("post_start", &HOOKS, Parts),
    f("pre_stop", &HOOKS, Parts),
];

static NOT_NEGATIVE: Shape = Shape::scalar(WHOLE | TEXT).within(0, i64::MAX);
static PERCENT: Shape = Shape::scalar(WHOLE | TEXT).within(0, 100);
static OOM_SCORE: Shape = Shape::scalar(WHOLE | TEXT).within(-1000, 1000);
static CGROUP: Shape = Shape::scalar(TEXT).words(&["host", "private"]);
static CONTAINER_NAME: Shape =
    Shape::scalar(TEXT).like(is_container_name, "letters, digits, `_`, `.` and `-`");
static PULL_POLICY: Shape = Shape::scalar(TEXT).like(
    is_pull_policy,
    "always, never, missing, if_not_present, build, refresh, daily, weekly or every_<time>",
);

/// True if a container name stands somewhere in it, as docker compose has it.
fn is_container_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let pairs = text.as_bytes().windows(2);
    pairs
        .into_iter()
        .any(|pair| pair[0].is_ascii_alphanumeric() && inner(pair[1]))
}

/// True if a policy stands somewhere in it, as docker compose has it.
fn is_pull_policy(text: &str) -> bool {
    const WORDS: [&str; 8] = [
        "always",
        "never",
        "build",
        "if_not_present",
        "missing",
        "refresh",
        "daily",
        "weekly",
    ];
    let every = text.match_indices("every_").any(|(at, every)| {
        let rest = &text[at + every.len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && rest[digits..].starts_with(['w', 'd', 'h', 'm', 's'])
    });
    every || WORDS.iter().any(|word| text.contains(word))
}

static BUILD: Shape = Shape::scalar(TEXT).part(&[
    f("context", &TEXT_ONLY, Text),
    f("dockerfile", &TEXT_ONLY, Text),
    f("dockerfile_inline", &TEXT_ONLY, Text),
    f("entitlements", &TEXT_LIST, Texts),
    f("args", &PAIRS, Variables),
    f("provenance", &FLAG_TEXT, Stringified),
    f("sbom", &FLAG_TEXT, Stringified),
    f("ssh", &PAIRS, Ssh),
    f("labels", &PAIRS, Pairs),
    f("cache_from", &TEXT_LIST, Texts),
    f("cache_to", &TEXT_LIST, Texts),
    f("no_cache", &FLAG_TEXT, Flag),
    f("additional_contexts", &PAIRS, Pairs),
    f("pull", &FLAG_TEXT, Flag),
    f("extra_hosts", &HOSTS, Hosts),
    f("isolation", &TEXT_ONLY, Text),
    f("network", &TEXT_ONLY, Text),
    f("target", &TEXT_ONLY, Text),
    f("secrets", &GRANTS, Parts),
    f("shm_size", &WHOLE_TEXT, Bytes),
    f("tags", &TEXT_LIST, Texts),
    f("ulimits", &ULIMITS, Ulimits),
    f("platforms", &TEXT_LIST, Texts),
    f("privileged", &FLAG_TEXT, Flag),
]);

static TRIGGER: Shape = Shape::scalar(0)
    .part(&[
        f("path", &TEXT_ONLY, Value),
        f("action", &ACTION, Value),
        f("target", &TEXT_ONLY, Text),
        f("exec", &HOOK, Form::Always),
        f("include", &TEXT_OR_SET, Texts),
        f("ignore", &TEXT_OR_SET, Texts),
        f("initial_sync", &FLAG_ONLY, Flag),
    ])
    .required(&["path", "action"]);
static ACTION: Shape =
    Shape::scalar(TEXT).words(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]);
static TRIGGERS: Shape = Shape::scalar(0).list(&TRIGGER);
static DEVELOP: Shape = Shape::scalar(NULL).part(&[f("watch", &TRIGGERS, Parts)]);

static WEIGHT: Shape = Shape::scalar(0).closed(&[
    f("path", &TEXT_ONLY, Value),
    f("weight", &WHOLE_TEXT, Value),
]);
static RATE: Shape = Shape::scalar(0).closed(&[
    f("path", &TEXT_ONLY, Value),
    f("rate", &WHOLE_TEXT, Form::BytesOrZero),
]);
static WEIGHTS: Shape = Shape::scalar(0).list(&WEIGHT);
static RATES: Shape = Shape::scalar(0).list(&RATE);
static BLKIO: Shape = Shape::scalar(0).closed(&[
    f("weight", &WHOLE_TEXT, Count),
    f("weight_device", &WEIGHTS, Parts),
    f("device_read_bps", &RATES, Parts),
    f("device_read_iops", &RATES, Parts),
    f("device_write_bps", &RATES, Parts),
    f("device_write_iops", &RATES, Parts),
]);

static CREDENTIALS: Shape = Shape::scalar(0).part(&[
    f("config", &TEXT_ONLY, Text),
    f("file", &TEXT_ONLY, Text),
    f("registry", &TEXT_ONLY, Text),
]);

static CONDITION: Shape = Shape::scalar(TEXT).words(&[
    "service_started",
    "service_healthy",
    "service_completed_successfully",
]);
static DEPENDENCY: Shape = Shape::scalar(0)
    .part(&[
        f("condition", &CONDITION, Text),
        f("restart", &FLAG_TEXT, Flag),
        f("required", &FLAG_ONLY, Choice),
    ])
    .required(&["condition"]);
static DEPENDS_ON: Shape = Shape::scalar(0)
    .set(&TEXT_ONLY)
    .by(Others::Names(&DEPENDENCY));

static MAPPED_DEVICE: Shape = Shape::scalar(TEXT)
    .part(&[
        f("source", &TEXT_ONLY, Text),
        f("target", &TEXT_ONLY, Text),
        f("permissions", &TEXT_ONLY, Text),
    ])
    .required(&["source"]);
static MAPPED_DEVICES: Shape = Shape::scalar(0).list(&MAPPED_DEVICE);

static PROVIDER: Shape = Shape::scalar(0)
    .part(&[
        f("type", &TEXT_ONLY, Text),
        f("options", &MANY_OPTIONS, ManyOptions),
    ])
    .required(&["type"]);

static ENV_FILE: Shape = Shape::scalar(TEXT)
    .closed(&[
        f("path", &TEXT_ONLY, Text),
        f("required", &FLAG_TEXT, Choice),
        f("format", &TEXT_ONLY, Text),
    ])
    .required(&["path"]);
static ENV_FILES: Shape = Shape::scalar(TEXT).list(&ENV_FILE);

static EXTENDS: Shape = Shape::scalar(TEXT)
    .closed(&[f("file", &TEXT_ONLY, Text), f("service", &TEXT_ONLY, Text)])
    .required(&["service"]);

static HEALTH: Shape = Shape::scalar(0).part(&[
    f("test", &TEXT_OR_LIST, Test),
    f("timeout", &TEXT_ONLY, TimeOrZero),
    f("interval", &TEXT_ONLY, TimeOrZero),
    f("retries", &NUMBER_TEXT, Form::CountOrZero),
    f("start_period", &TEXT_ONLY, TimeOrZero),
    f("start_interval", &TEXT_ONLY, TimeOrZero),
    f("disable", &FLAG_TEXT, Flag),
]);

static LOGGING: Shape = Shape::scalar(0).part(&[
    f("driver", &TEXT_ONLY, Text),
    f("options", &LOG_OPTIONS, Options),
]);

static MODEL: Shape = Shape::scalar(NULL).part(&[
    f("endpoint_var", &TEXT_ONLY, Text),
    f("model_var", &TEXT_ONLY, Text),
]);
static MODELS: Shape = Shape::scalar(0)
    .set(&TEXT_ONLY)
    .by(Others::LooseNames(&MODEL));

static NETWORK: Shape = Shape::scalar(NULL).part(&[
    f("aliases", &TEXT_SET, Texts),
    f("driver_opts", &DRIVER_OPTIONS, Options),
    f("gw_priority", &NUMBER_ONLY, Whole),
    f("interface_name", &TEXT_ONLY, Text),
    f("ipv4_address", &TEXT_ONLY, Text),
    f("ipv6_address", &TEXT_ONLY, Text),
    f("link_local_ips", &TEXT_SET, Texts),
    f("mac_address", &TEXT_ONLY, Text),
    f("priority", &NUMBER_ONLY, Whole),
]);
static NETWORKS: Shape = Shape::scalar(0).set(&TEXT_ONLY).by(Others::Names(&NETWORK));

static PORT: Shape = Shape::scalar(NUMBER | TEXT).part(&[
    f("name", &TEXT_ONLY, Text),
    f("mode", &TEXT_ONLY, Text),
    f("host_ip", &TEXT_ONLY, Text),
    f("target", &WHOLE_TEXT, Count),
    f("published", &WHOLE_TEXT, Text),
    f("protocol", &TEXT_ONLY, Text),
    f("app_protocol", &TEXT_ONLY, Text),
]);
static PORTS: Shape = Shape::scalar(0).set(&PORT);

static MOUNT: Shape = Shape::scalar(TEXT)
    .part(&[
        f("type", &MOUNT_TYPE, Text),
        f("source", &TEXT_ONLY, Text),
        f("target", &TEXT_ONLY, Text),
        f("read_only", &FLAG_TEXT, Flag),
        f("consistency", &TEXT_ONLY, Text),
        f("bind", &BIND, Part),
        f("volume", &VOLUME, Part),
        f("tmpfs", &TMPFS, Part),
        f("image", &IMAGE, Part),
    ])
    .required(&["type"]);
static MOUNT_TYPE: Shape =
    Shape::scalar(TEXT).words(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]);
static RECURSIVE: Shape =
    Shape::scalar(TEXT).words(&["enabled", "disabled", "writable", "readonly"]);
static SELINUX: Shape = Shape::scalar(TEXT).words(&["z", "Z"]);
static BIND: Shape = Shape::scalar(0).part(&[
    f("selinux", &SELINUX, Text),
    f("propagation", &TEXT_ONLY, Text),
    f("create_host_path", &FLAG_TEXT, Flag),
    f("recursive", &RECURSIVE, Text),
]);
static VOLUME: Shape = Shape::scalar(0).part(&[
    f("labels", &PAIRS, Pairs),
    f("nocopy", &FLAG_TEXT, Flag),
    f("subpath", &TEXT_ONLY, Text),
]);
static TMPFS: Shape = Shape::scalar(0).part(&[
    f("size", &NOT_NEGATIVE, Bytes),
    f("mode", &NUMBER_TEXT, Count),
]);
static IMAGE: Shape = Shape::scalar(0).part(&[f("subpath", &TEXT_ONLY, Text)]);
static VOLUMES: Shape = Shape::scalar(0).set(&MOUNT);
