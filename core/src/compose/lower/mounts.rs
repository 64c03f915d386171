//! `volumes`, `tmpfs` and `shm_size` of a service.

use std::path::PathBuf;

use crate::name::VolumeName;
use crate::spec::{Mount, MountSource, Service};
use crate::units::Bytes;

use super::super::Level;
use super::super::assemble::path_of;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;
use super::super::tree::Node;

/// Permission bits of a tmpfs root, as docker makes it.
const TMPFS_MODE: u32 = 0o1777;

/// Reads the mounts.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    if let Some(field) = at.get("volumes") {
        for item in field.list(cx) {
            let mount = long(&item, cx);
            add(service, mount);
        }
    }
    if let Some(field) = at.get("tmpfs") {
        for item in field.one_or_many(cx) {
            let mount = tmpfs(&item, cx);
            let taken = |mount: &Mount| {
                let same = |old: &Mount| old.target == mount.target && !is_memory(old);
                service.mounts.iter().any(same)
            };
            if mount.as_ref().is_some_and(taken) {
                cx.error(&item, "a volume is mounted there already");
                continue;
            }
            add(service, mount);
        }
    }
    if let Some(field) = at.get("shm_size") {
        let size = field.bytes(cx).filter(|size| size.0 > 0);
        let mount = size.map(|size| memory("/dev/shm", Some(size), TMPFS_MODE));
        // A mount of the file's own there says more.
        if !service.mounts.iter().any(|old| old.target == "/dev/shm") {
            add(service, mount);
        }
    }
}

/// A later mount at the same place takes the place of an earlier one.
fn add(service: &mut Service, mount: Option<Mount>) {
    let Some(mount) = mount else { return };
    let same = service
        .mounts
        .iter()
        .position(|old| old.target == mount.target);
    match same {
        Some(index) => service.mounts[index] = mount,
        None => service.mounts.push(mount),
    }
}

fn memory(target: &str, size: Option<Bytes>, mode: u32) -> Mount {
    Mount {
        source: MountSource::Tmpfs { size, mode },
        target: target.to_owned(),
        read_only: false,
    }
}

fn is_memory(mount: &Mount) -> bool {
    matches!(mount.source, MountSource::Tmpfs { .. })
}

/// A target without double or trailing slashes; `..` is left for the check of the whole stack.
fn clean(target: &str) -> String {
    if !target.starts_with('/') {
        return target.to_owned();
    }
    let parts = target
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<&str> = parts.collect();
    format!("/{}", parts.join("/"))
}

fn bind(item: &At<'_>, source: &str, cx: &mut Context<'_>) -> Option<PathBuf> {
    let path = path_of(item, source, cx)?;
    if path.as_os_str() == "/" {
        let text = "gives the service the whole file system of the node";
        cx.warn(item, Level::Trap, text);
    }
    Some(path)
}

fn named(item: &At<'_>, source: Option<&str>, cx: &mut Context<'_>) -> Option<MountSource> {
    let Some(source) = source else {
        return Some(MountSource::Anonymous);
    };
    match VolumeName::parse(source) {
        Ok(name) => Some(match cx.bound.get(&name) {
            Some(path) => MountSource::Bind {
                path: path.clone(),
                create: false,
            },
            None => MountSource::Volume(name),
        }),
        Err(error) => {
            let hint = format!("for a directory write ./{}", shown(source));
            cx.error_hint(item, error.to_string(), hint);
            None
        }
    }
}

fn selinux(item: &At<'_>, option: &str, cx: &mut Context<'_>) {
    let text = format!("`{option}`: files are not relabelled for SELinux");
    cx.warn(item, Level::Ignored, text);
}

fn nocopy(item: &At<'_>, cx: &mut Context<'_>) {
    let text = "`nocopy`: an empty volume is filled from the image all the same";
    cx.warn(item, Level::Ignored, text);
}

fn propagation(item: &At<'_>, option: &str, cx: &mut Context<'_>) {
    let text = format!("`{option}`: mounts made later do not show through");
    cx.warn(item, Level::Ignored, text);
}

/// The parts of the long form.
#[derive(Default)]
struct Long {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    no_create: bool,
    size: Option<Bytes>,
    mode: Option<u32>,
}

fn long(item: &At<'_>, cx: &mut Context<'_>) -> Option<Mount> {
    let mut long = Long::default();
    for field in item.map(cx) {
        match field.name() {
            "type" => long.kind = field.text(cx),
            "source" => long.source = field.text(cx),
            "target" => long.target = field.text(cx),
            "read_only" => long.read_only = field.boolean(cx)?,
            "bind" => bind_options(&field, &mut long, cx),
            "volume" => volume_options(&field, cx),
            "tmpfs" => tmpfs_options(&field, &mut long, cx),
            "consistency" => cx.warn(&field, Level::Note, "has no effect on Linux"),
            _ => {}
        }
    }
    let source = long_source(item, &long, cx)?;
    let Some(target) = long.target else {
        cx.error(item, "needs `target`");
        return None;
    };
    Some(Mount {
        source,
        target: clean(&target),
        read_only: long.read_only,
    })
}

fn long_source(item: &At<'_>, long: &Long, cx: &mut Context<'_>) -> Option<MountSource> {
    let Some(kind) = &long.kind else {
        if item.get("type").is_none() {
            cx.error_hint(item, "needs `type`", "it is bind, volume or tmpfs");
        }
        return None;
    };
    match kind.as_str() {
        "volume" => named(item, long.source.as_deref().filter(|s| !s.is_empty()), cx),
        "tmpfs" => Some(MountSource::Tmpfs {
            size: long.size,
            mode: long.mode.unwrap_or(TMPFS_MODE),
        }),
        "bind" => {
            let Some(source) = long.source.as_deref().filter(|s| !s.is_empty()) else {
                cx.error(item, "a bind needs `source`");
                return None;
            };
            Some(MountSource::Bind {
                path: bind(item, source, cx)?,
                create: !long.no_create,
            })
        }
        "image" | "npipe" | "cluster" => {
            let text = format!("mounts of type {kind} are not available");
            cx.unsupported(item, &text, "use a bind or a volume");
            None
        }
        other => {
            let text = format!("`{}` is not a type of mount", shown(other));
            cx.error_hint(item, text, "use bind, volume or tmpfs");
            None
        }
    }
}

fn bind_options(field: &At<'_>, long: &mut Long, cx: &mut Context<'_>) {
    // Without any option docker creates the directory, with others only if it is told to.
    long.no_create = !field
        .node
        .get("create_host_path")
        .is_some_and(Node::is_true);
    for option in field.map(cx) {
        if option.name() == "create_host_path" {
            continue;
        }
        let Some(text) = option.text(cx) else {
            continue;
        };
        match (option.name(), text.as_str()) {
            ("propagation", "private" | "rprivate" | "") | ("recursive", "enabled" | "") => {}
            ("propagation", other) => propagation(&option, other, cx),
            ("selinux", other) => selinux(&option, other, cx),
            _ => cx.warn(&option, Level::Ignored, "binds are always recursive"),
        }
    }
}

fn volume_options(field: &At<'_>, cx: &mut Context<'_>) {
    for option in field.map(cx) {
        match option.name() {
            "nocopy" => {
                if option.boolean(cx) == Some(true) {
                    nocopy(&option, cx);
                }
            }
            "subpath" => cx.unsupported(
                &option,
                "a part of a volume cannot be mounted",
                "mount the whole volume, or use a bind",
            ),
            _ => cx.warn(
                &option,
                Level::Ignored,
                "labels belong to the top-level volume",
            ),
        }
    }
}

fn tmpfs_options(field: &At<'_>, long: &mut Long, cx: &mut Context<'_>) {
    for option in field.map(cx) {
        match option.name() {
            "size" => long.size = option.bytes(cx).filter(|size| size.0 > 0),
            _ => long.mode = option.mode(cx),
        }
    }
}

/// `target[:size=64m,mode=1777,…]`.
fn tmpfs(item: &At<'_>, cx: &mut Context<'_>) -> Option<Mount> {
    let text = item.text(cx)?;
    let (target, options) = text.split_once(':').unwrap_or((&text, ""));
    let mut mount = memory(&clean(target), None, TMPFS_MODE);
    let (mut size, mut mode) = (None, TMPFS_MODE);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "")) {
            ("size", value) => match Bytes::parse(value) {
                Ok(bytes) => size = Some(bytes).filter(|size| size.0 > 0),
                Err(error) => cx.error(item, error.to_string()),
            },
            ("mode", value) => match u32::from_str_radix(value, 8) {
                Ok(bits) if bits <= 0o7777 => mode = bits,
                _ => cx.error(item, format!("`{}` is not a file mode", shown(value))),
            },
            ("ro", _) => mount.read_only = true,
            ("rw" | "nosuid" | "nodev", _) => {}
            _ => {
                let text = format!("the option `{}` has no effect", shown(option));
                cx.warn(item, Level::Ignored, text);
            }
        }
    }
    mount.source = MountSource::Tmpfs { size, mode };
    Some(mount)
}
