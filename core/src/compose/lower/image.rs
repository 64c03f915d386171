//! `image`, `build`, `pull_policy`, `platform`.

use crate::image::{ImageRef, Platform};
use crate::name::{ServiceName, StackName};
use crate::spec::{PullPolicy, Service};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;

/// The image to run; what is missing or wrong is reported.
pub(super) fn reference(
    at: &At<'_>,
    stack: &StackName,
    name: &ServiceName,
    cx: &mut Context<'_>,
) -> ImageRef {
    let written = at.get("image").filter(|field| !field.node.is_null());
    let text = written.and_then(|field| field.text(cx));
    let image = match (&written, text) {
        (Some(field), Some(text)) if !text.is_empty() => parsed(field, &text, cx),
        (None, _) | (Some(_), Some(_)) => {
            without(at, cx);
            None
        }
        (Some(_), None) => None,
    };
    image.unwrap_or_else(|| built(stack, name))
}

fn parsed(field: &At<'_>, text: &str, cx: &mut Context<'_>) -> Option<ImageRef> {
    match ImageRef::parse(text) {
        Ok(image) => Some(image),
        Err(error) => {
            cx.error(field, error.to_string());
            None
        }
    }
}

fn without(at: &At<'_>, cx: &mut Context<'_>) {
    let builds = at.get("build").filter(|field| !field.node.is_null());
    match builds {
        Some(build) => cx.unsupported(
            &build,
            "images cannot be built yet, and the service names none",
            "build the image with another program and name it with `image:`",
        ),
        None if at.get("provider").is_some() => {}
        // Said of the document as a whole.
        None => {}
    }
}

/// The name that docker compose gives to what it builds for a service.
fn built(stack: &StackName, name: &ServiceName) -> ImageRef {
    let text = format!("{stack}-{name}").to_lowercase();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    ImageRef::parse(&words.join("-"))
        .or_else(|_| ImageRef::parse("unnamed"))
        .expect("`unnamed` is a valid reference")
}

/// Reads when the image is fetched and for what.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    if let Some(field) = at.get("pull_policy") {
        pull(&field, service, cx);
    }
    if let Some(field) = at.get("platform")
        && let Some(platform) = field.parsed(cx, Platform::parse)
    {
        service.platform = Some(platform.to_string());
    }
    let has_image = at.get("image").is_some_and(|field| !field.node.is_null());
    if let Some(field) = at.get("build")
        && has_image
    {
        let text = "images cannot be built yet: the image must be there or in a registry";
        cx.warn(&field, Level::Ignored, text);
    }
}

fn pull(field: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(text) = field.text(cx) else { return };
    service.pull = match text.as_str() {
        "missing" | "if_not_present" | "" => PullPolicy::Missing,
        "always" => PullPolicy::Always,
        "never" => PullPolicy::Never,
        "build" => {
            let text = "images cannot be built yet: it is pulled if it is missing";
            cx.warn(field, Level::Ignored, text);
            PullPolicy::Missing
        }
        "refresh" | "daily" | "weekly" => {
            aged(field, cx);
            PullPolicy::Missing
        }
        other if other.starts_with("every_") => {
            aged(field, cx);
            PullPolicy::Missing
        }
        other => {
            let hint = "use always, never, missing, if_not_present or build";
            cx.error_hint(field, format!("`{}` is no pull policy", shown(other)), hint);
            PullPolicy::Missing
        }
    };
}

fn aged(field: &At<'_>, cx: &mut Context<'_>) {
    let text = "the age of an image is not looked at: it is pulled if it is missing";
    cx.warn(field, Level::Ignored, text);
}
