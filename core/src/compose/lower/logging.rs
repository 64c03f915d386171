//! `logging`: how much is kept of what replicas write.

use crate::spec::Service;
use crate::units::Bytes;

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;

/// Reads where logs go, which is always here, and their bounds.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(logging) = at.get("logging").filter(|field| !field.node.is_null()) else {
        return;
    };
    let driver = logging.get("driver").filter(|field| !field.node.is_null());
    let driver = driver.and_then(|field| field.text(cx));
    let text = match driver.as_deref() {
        None | Some("json-file" | "local" | "") => {
            if let Some(options) = logging.get("options") {
                bounds(&options, service, cx);
            }
            return;
        }
        Some("none") => "logs are kept all the same".to_owned(),
        Some(other) => format!("logs do not go to `{}`, they are kept here", shown(other)),
    };
    cx.warn(&logging, Level::Ignored, text);
}

fn bounds(options: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    if options.node.is_null() {
        return;
    }
    for option in options.map(cx) {
        if option.node.is_null() {
            continue;
        }
        match option.name() {
            "max-size" => service.log.max_size = size(&option, cx),
            "max-file" => service.log.max_files = count(&option, cx),
            _ => {
                let text = "has no effect: logs are kept by unmoor's own rules";
                cx.warn(&option, Level::Ignored, text);
            }
        }
    }
}

/// A size with a unit; what is below zero is no bound of the user's.
fn size(option: &At<'_>, cx: &mut Context<'_>) -> Option<Bytes> {
    let text = option.number_text(cx)?;
    if text.starts_with('-') {
        return None;
    }
    match Bytes::parse(&text) {
        Ok(size) if size.0 > 0 => Some(size),
        Ok(_) => {
            cx.error(option, "a log cannot be kept in no space");
            None
        }
        Err(error) => {
            cx.error(option, error.to_string());
            None
        }
    }
}

fn count(option: &At<'_>, cx: &mut Context<'_>) -> Option<u32> {
    let text = option.number_text(cx)?;
    let count = text.parse().ok().filter(|count| *count > 0);
    if count.is_none() {
        let text = format!("`{}` is not a number of files from 1 on", shown(&text));
        cx.error(option, text);
    }
    count
}
