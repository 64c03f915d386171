//! Keys that are known and not honoured, each with what follows from that.

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;

use Effect::{Breaks, Differs, Nothing};

/// What leaving a key out means.
#[derive(Debug, Clone, Copy)]
enum Effect {
    /// Nothing, with docker compose on Linux neither.
    Nothing,
    /// The service runs, but not quite so.
    Differs,
    /// The service would be something else.
    Breaks,
}

const WINDOWS: &str = "is about Windows and has no effect";
const DISK: &str = "disk input and output are not limited";
const REAL_TIME: &str = "no real-time share is set aside";
const HOOK: &str = "commands beside the main one are not run";

/// Keys whose value does not matter.
const ALWAYS: [(&str, Effect, &str); 26] = [
    ("annotations", Differs, "annotations are not kept"),
    ("blkio_config", Differs, DISK),
    (
        "cgroup_parent",
        Differs,
        "the place among the control groups is chosen",
    ),
    ("cpu_count", Nothing, WINDOWS),
    ("cpu_percent", Nothing, WINDOWS),
    ("cpu_rt_period", Differs, REAL_TIME),
    ("cpu_rt_runtime", Differs, REAL_TIME),
    ("cpuset", Differs, "replicas run on every processor"),
    ("credential_spec", Nothing, WINDOWS),
    ("develop", Nothing, "only `unmoor watch` goes by it"),
    (
        "device_cgroup_rules",
        Breaks,
        "devices are given by `devices` alone",
    ),
    ("domainname", Differs, "the host name has no domain"),
    (
        "external_links",
        Breaks,
        "what is outside of the stack cannot be linked so",
    ),
    (
        "gpus",
        Breaks,
        "graphics cards cannot be given to a service",
    ),
    ("isolation", Nothing, WINDOWS),
    ("mac_address", Differs, "the address is chosen"),
    ("mem_swappiness", Differs, "the kernel's setting holds"),
    ("memswap_limit", Differs, "swap is not limited apart"),
    (
        "oom_kill_disable",
        Differs,
        "the kernel ends what exceeds its memory",
    ),
    ("oom_score_adj", Differs, "the kernel's order holds"),
    ("post_start", Breaks, HOOK),
    ("pre_start", Breaks, HOOK),
    ("pre_stop", Breaks, HOOK),
    (
        "provider",
        Breaks,
        "services of providers are not available",
    ),
    (
        "storage_opt",
        Differs,
        "the size of the root file system is not limited",
    ),
    ("use_api_socket", Breaks, "there is no API socket to give"),
];
/// Further keys that always break.
const VOLUMES_FROM: &str = "volumes_from";

/// Reports what of these fields is not honoured.
pub(super) fn lower(fields: &[At<'_>], cx: &mut Context<'_>) {
    for field in fields {
        let key = field.name();
        if let Some((_, effect, text)) = ALWAYS.iter().find(|(known, ..)| *known == key) {
            report(field, *effect, text, cx);
            continue;
        }
        match key {
            VOLUMES_FROM => cx.unsupported(
                field,
                "mounts of other services cannot be taken over",
                "name the volumes of both under `volumes:`",
            ),
            "models" => models(field, cx),
            "cgroup" | "ipc" | "pid" | "runtime" | "userns_mode" | "uts" => namespace(field, cx),
            _ => {}
        }
    }
}

fn report(field: &At<'_>, effect: Effect, text: &str, cx: &mut Context<'_>) {
    // An empty value asks for nothing.
    if field.node.is_null() {
        return;
    }
    match effect {
        Nothing => cx.warn(field, Level::Note, text),
        Differs => cx.warn(field, Level::Ignored, text),
        Breaks => cx.unsupported(field, text, ""),
    }
}

/// Reports `models`, of the stack or of a service.
pub(super) fn models(field: &At<'_>, cx: &mut Context<'_>) {
    cx.unsupported(
        field,
        "models that are called as services are not available",
        "",
    );
}

/// Which namespaces and runtime a replica has.
fn namespace(field: &At<'_>, cx: &mut Context<'_>) {
    if field.node.is_null() {
        return;
    }
    let Some(value) = field.text(cx) else { return };
    match (field.name(), value.as_str()) {
        (_, "" | "private") | ("ipc", "shareable") | ("runtime", "runc") => {}
        ("runtime", other) => {
            let text = format!("the runtime `{}` is not used", shown(other));
            cx.warn(field, Level::Ignored, text);
        }
        ("userns_mode", _) => {
            let text = "replicas always have a user namespace of their own";
            cx.warn(field, Level::Ignored, text);
        }
        ("cgroup", _) => {
            let text = "replicas always have a cgroup namespace of their own";
            cx.warn(field, Level::Ignored, text);
        }
        (key, other) => {
            let text = format!("the {key} namespace cannot be `{}`", shown(other));
            cx.unsupported(field, &text, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::format;
    use super::ALWAYS;

    /// Keys that the areas read, or that the document has no more.
    const READ: &str = "attach build cap_add cap_drop command configs container_name cpu_period \
        cpu_quota cpu_shares cpus depends_on deploy devices dns dns_opt dns_search entrypoint env_file environment expose extends \
        extra_hosts group_add healthcheck hostname image init label_file labels links mem_limit \
        mem_reservation network_mode networks pids_limit platform ports privileged profiles \
        pull_policy read_only restart scale secrets security_opt shm_size stdin_open \
        stop_grace_period stop_signal sysctls tmpfs tty ulimits user volumes working_dir \
        cgroup ipc pid runtime userns_mode uts logging models volumes_from pull_refresh_after";

    #[test]
    fn every_key_of_the_format_is_read_or_reported() {
        let known: Vec<&str> = READ
            .split_whitespace()
            .chain(ALWAYS.iter().map(|(key, ..)| *key))
            .collect();
        for key in format::service_keys() {
            assert!(known.contains(&key), "`{key}` would be dropped in silence");
        }
        for (index, key) in known.iter().enumerate() {
            assert!(!known[..index].contains(key), "`{key}` is listed twice");
        }
    }
}
