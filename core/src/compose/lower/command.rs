//! What runs and how it is called: `command`, `entrypoint`, `user`, `hostname`, `stop_signal`, …

use crate::spec::Service;

use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;

/// Reads the process and its surroundings.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    service.command = at.get("command").and_then(|field| line(&field, cx));
    service.entrypoint = at.get("entrypoint").and_then(|field| line(&field, cx));
    service.working_dir = text(at, "working_dir", cx);
    service.user = text(at, "user", cx);
    service.hostname = text(at, "hostname", cx);
    service.stop.signal = text(at, "stop_signal", cx);
    if let Some(field) = at.get("container_name") {
        service.container_name = field.text(cx).filter(|name| is_name(&field, name, cx));
    }
    if let Some(field) = at.get("stop_grace_period") {
        service.stop.grace = field.duration(cx);
    }
    let flags = [
        ("tty", &mut service.tty),
        ("stdin_open", &mut service.stdin_open),
        ("init", &mut service.init),
    ];
    for (key, flag) in flags {
        if let Some(field) = at.get(key) {
            *flag = field.boolean(cx).unwrap_or_default();
        }
    }
}

/// A string; an empty one says nothing.
fn text(at: &At<'_>, key: &str, cx: &mut Context<'_>) -> Option<String> {
    let text = at.get(key)?.text(cx)?;
    (!text.is_empty()).then_some(text)
}

fn is_name(field: &At<'_>, name: &str, cx: &mut Context<'_>) -> bool {
    let mut bytes = name.bytes();
    let valid = name.len() <= 128
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if !valid {
        let text = format!("`{}` is not a container name", shown(name));
        cx.error_hint(field, text, "use letters, digits, `_`, `.` and `-`");
    }
    valid
}

/// A command line; null says nothing.
pub(super) fn line(field: &At<'_>, cx: &mut Context<'_>) -> Option<Vec<String>> {
    if field.node.is_null() {
        return None;
    }
    Some(field.texts(cx))
}
