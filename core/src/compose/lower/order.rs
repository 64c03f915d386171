//! What must have started before: `depends_on`, with what other keys imply.

use crate::name::ServiceName;
use crate::spec::{Condition, Dependency, Service};

use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;

/// Reads `depends_on`.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(field) = at.get("depends_on") else {
        return;
    };
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
