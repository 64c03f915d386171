//! `environment` and `labels`, whose files and outside values are in the document already.

use std::collections::BTreeMap;

use crate::spec::Service;

use super::super::context::Context;
use super::super::cursor::At;

/// Reads variables and labels.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    if let Some(field) = at.get("environment") {
        for entry in field.map(cx) {
            // Not set outside either: not set inside.
            if let Some(Some(value)) = entry.loose(cx) {
                service.environment.insert(entry.name().to_owned(), value);
            }
        }
    }
    if let Some(field) = at.get("labels") {
        service.labels = labels(&field, cx);
    }
}

/// Labels by name.
pub(super) fn labels(field: &At<'_>, cx: &mut Context<'_>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in field.map(cx) {
        if let Some(value) = entry.loose(cx) {
            found.insert(entry.name().to_owned(), value.unwrap_or_default());
        }
    }
    found
}
