//! What must have started before: `depends_on`, and what `links` imply.

use crate::name::ServiceName;
use crate::spec::{Condition, Dependency, Service};

use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;
use super::super::tree::Value;

/// Reads `depends_on`.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(field) = at.get("depends_on") else {
        return;
    };
    if let Value::List(_) = field.node.value {
        for item in field.list(cx) {
            if let Some(name) = item.parsed(cx, |text| ServiceName::parse(text)) {
                service.depends_on.insert(name, Dependency::default());
            }
        }
        return;
    }
    for entry in field.map(cx) {
        match ServiceName::parse(entry.name()) {
            Ok(name) => {
                service.depends_on.insert(name, dependency(&entry, cx));
            }
            Err(error) => cx.error(&entry, error.to_string()),
        }
    }
}

fn dependency(entry: &At<'_>, cx: &mut Context<'_>) -> Dependency {
    let mut dependency = Dependency::default();
    for field in entry.fields(cx, &["condition", "required", "restart"]) {
        match field.name() {
            "condition" => {
                let condition = field.text(cx).and_then(|text| condition(&field, &text, cx));
                dependency.condition = condition.unwrap_or(Condition::Started);
            }
            "required" => dependency.required = field.boolean(cx).unwrap_or(true),
            _ => dependency.restart = field.boolean(cx).unwrap_or_default(),
        }
    }
    if entry.node.as_map().is_some() && entry.get("condition").is_none() {
        cx.error_hint(entry, "needs `condition`", "it is usually service_started");
    }
    dependency
}

fn condition(field: &At<'_>, text: &str, cx: &mut Context<'_>) -> Option<Condition> {
    match text {
        "service_started" => Some(Condition::Started),
        "service_healthy" => Some(Condition::Healthy),
        "service_completed_successfully" => Some(Condition::CompletedSuccessfully),
        other => {
            let text = format!("`{}` is not a condition", shown(other));
            let hint = "use service_started, service_healthy or service_completed_successfully";
            cx.error_hint(field, text, hint);
            None
        }
    }
}

/// A service starts after those it has `links` to, as docker compose has it; our own links come
/// later and order nothing.
pub(super) fn add_links(service: &mut Service) {
    for link in &service.links {
        let implied = Dependency {
            restart: true,
            ..Dependency::default()
        };
        service
            .depends_on
            .entry(link.target.service.clone())
            .or_insert(implied);
    }
}
