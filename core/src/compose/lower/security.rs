//! What a replica may do: capabilities, `privileged`, `security_opt`, `sysctls`, `ulimits`.

use crate::spec::{Device, Rlimit, Service};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;
use super::super::tree::Value;
use super::environment::labels;

/// Reads the security settings.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let security = &mut service.security;
    if let Some(field) = at.get("cap_add") {
        security.cap_add = capabilities(&field, cx);
    }
    if let Some(field) = at.get("cap_drop") {
        security.cap_drop = capabilities(&field, cx);
    }
    if let Some(field) = at.get("privileged") {
        security.privileged = field.boolean(cx).unwrap_or_default();
    }
    if let Some(field) = at.get("read_only") {
        security.read_only = field.boolean(cx).unwrap_or_default();
    }
    if let Some(field) = at.get("sysctls") {
        security.sysctls.extend(labels(&field, cx));
    }
    if let Some(field) = at.get("security_opt") {
        for item in field.list(cx) {
            option(&item, service, cx);
        }
    }
    if let Some(field) = at.get("devices") {
        for item in field.list(cx) {
            service.security.devices.extend(device(&item, cx));
        }
    }
    if let Some(field) = at.get("group_add") {
        for item in field.list(cx) {
            service.security.groups.extend(group(&item, cx));
        }
    }
    if let Some(field) = at.get("ulimits") {
        for entry in field.map(cx) {
            if let Some(limit) = rlimit(&entry, cx) {
                let name = entry.name().to_owned();
                service.security.ulimits.insert(name, limit);
            }
        }
    }
}

/// A group by name or number.
fn group(item: &At<'_>, cx: &mut Context<'_>) -> Option<String> {
    let text = item.number_text(cx)?;
    if text.is_empty() || text.contains([':', '\0', '\n']) {
        cx.error(item, format!("`{}` is not a group", shown(&text)));
        return None;
    }
    Some(text)
}

/// `source[:target[:permissions]]`, or the three by name.
fn device(item: &At<'_>, cx: &mut Context<'_>) -> Option<Device> {
    let (source, target, access) = if let Value::Scalar(_) = item.node.value {
        let text = item.text(cx)?;
        let mut parts = text.split(':').map(str::to_owned);
        (parts.next()?, parts.next(), parts.next())
    } else {
        let mut part = |key| item.get(key).and_then(|field| field.text(cx));
        (part("source")?, part("target"), part("permissions"))
    };
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let device = Device {
        target: given(target).unwrap_or_else(|| source.clone()),
        access: given(access).unwrap_or_else(|| "rwm".to_owned()),
        source,
    };
    if !device.source.starts_with('/') {
        let text = format!("`{}` is not a path of the node", shown(&device.source));
        cx.unsupported(item, &text, "name the device by its path");
        return None;
    }
    let known = device.access.bytes().all(|letter| b"rwm".contains(&letter));
    if !known || !device.target.starts_with('/') {
        let text = format!(
            "`{}:{}` is not a path inside with some of rwm",
            shown(&device.target),
            shown(&device.access)
        );
        cx.error_hint(item, text, "write it as source:target:permissions");
        return None;
    }
    Some(device)
}

/// Names in capitals, without `CAP_`, each once.
fn capabilities(field: &At<'_>, cx: &mut Context<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for item in field.list(cx) {
        let Some(text) = item.text(cx) else { continue };
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned();
        let valid = !name.is_empty()
            && name.len() <= 32
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b == b'_' || b.is_ascii_digit());
        if !valid {
            let text = format!("`{}` is not a capability", shown(&text));
            cx.error_hint(&item, text, "write a name such as NET_ADMIN, or ALL");
        } else if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

fn option(item: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(text) = item.text(cx) else { return };
    let (name, value) = match text.find(['=', ':']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text.as_str(), ""),
    };
    match (name, value) {
        ("no-new-privileges", "" | "true") => service.security.new_privileges = Some(false),
        ("no-new-privileges", "false") => service.security.new_privileges = Some(true),
        ("seccomp", "unconfined") => service.security.seccomp_unconfined = true,
        ("seccomp", _) => {
            let text = "the usual filter is used, not the profile of this file";
            cx.warn(item, Level::Ignored, text);
        }
        ("apparmor" | "label", _) => {
            let text = format!("`{}` has no effect: no such policy is set", shown(&text));
            cx.warn(item, Level::Ignored, text);
        }
        _ => {
            let text = format!("`{}` has no effect", shown(&text));
            cx.warn(item, Level::Ignored, text);
        }
    }
}

/// A number, or a soft and a hard one; -1 is no limit.
fn rlimit(entry: &At<'_>, cx: &mut Context<'_>) -> Option<Rlimit> {
    if let Value::Scalar(_) = entry.node.value {
        let both = number(entry, cx)?;
        return Some(Rlimit {
            soft: both,
            hard: both,
        });
    }
    // What is zero is left out of the document.
    let (mut soft, mut hard) = (0, 0);
    for field in entry.map(cx) {
        let value = number(&field, cx)?;
        match field.name() {
            "soft" => soft = value,
            _ => hard = value,
        }
    }
    let both = ["soft", "hard"].map(|key| entry.get(key).is_some());
    if soft > hard && both == [true, true] {
        cx.error(entry, "`soft` is above `hard`");
        return None;
    }
    Some(Rlimit { soft, hard })
}

fn number(field: &At<'_>, cx: &mut Context<'_>) -> Option<u64> {
    match field.integer(cx)? {
        -1 => Some(u64::MAX),
        number => {
            let limit = u64::try_from(number).ok();
            if limit.is_none() {
                cx.error(field, format!("{number} is not a limit; -1 is none"));
            }
            limit
        }
    }
}
