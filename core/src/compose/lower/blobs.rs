//! Secrets and configs: of the stack, and what services get of them.

use crate::name::{BlobName, StackName};
use crate::spec::{Blob, BlobGrant, BlobKind, BlobSource, SecretBytes, Service, Stack};

use super::super::Level;
use super::super::assemble::path_of;
use super::super::context::Context;
use super::super::cursor::At;

/// Reads the top-level `secrets` or `configs`.
pub(super) fn lower(at: &At<'_>, stack: &mut Stack, cx: &mut Context<'_>) {
    let is_secret = at.name() == "secrets";
    for entry in at.map(cx) {
        let name = match BlobName::parse(entry.name()) {
            Ok(name) => name,
            Err(error) => {
                cx.error(&entry, error.to_string());
                continue;
            }
        };
        let Some(source) = source(&entry, (&stack.name, is_secret), cx) else {
            continue;
        };
        let blobs = if is_secret {
            &mut stack.secrets
        } else {
            &mut stack.configs
        };
        blobs.insert(name, Blob { source });
    }
}

fn source(
    entry: &At<'_>,
    (stack, is_secret): (&StackName, bool),
    cx: &mut Context<'_>,
) -> Option<BlobSource> {
    let mut source = None;
    for field in entry.map(cx) {
        match field.name() {
            "file" => {
                let path = field.text(cx).and_then(|path| path_of(&field, &path, cx));
                let open = path
                    .as_deref()
                    .is_some_and(|path| cx.env.files.is_open_to_all(path));
                if is_secret && open {
                    let text = "everyone on this machine may read the file: chmod o-r";
                    cx.warn(&field, Level::Trap, text);
                }
                source = path.map(BlobSource::File);
            }
            "environment" => source = variable(&field, cx),
            "content" => {
                let text = field.text(cx);
                source = text.map(|text| BlobSource::Inline(SecretBytes::new(text)));
            }
            "external" => source = Some(BlobSource::External),
            "name" => {
                let usual = format!("{stack}_{}", entry.name());
                let is_usual = |name: String| name == usual || name == entry.name();
                if !field.text(cx).is_none_or(is_usual) {
                    cx.warn(&field, Level::Ignored, "is called by its key");
                }
            }
            "labels" => cx.warn(&field, Level::Ignored, "labels are not kept"),
            "driver" | "driver_opts" | "template_driver" => {
                cx.warn(&field, Level::Note, "has no effect outside of a swarm");
            }
            _ => {}
        }
    }
    if source.is_none() && entry.get("driver").is_some() {
        let text = "what a driver of a swarm fetches cannot be given";
        cx.unsupported(entry, text, "give a `file` or an `environment`");
    }
    source
}

/// The value now, because what plans later may not see the same variables.
fn variable(field: &At<'_>, cx: &mut Context<'_>) -> Option<BlobSource> {
    let name = field.text(cx)?;
    match cx.variable(field.node.spot, &name) {
        Some(value) => Some(BlobSource::Inline(SecretBytes::new(value))),
        None => {
            cx.warn(field, Level::Trap, "the variable is not set");
            Some(BlobSource::Environment(name))
        }
    }
}

/// Reads what a service gets.
pub(super) fn grants(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    for (key, kind) in [("secrets", BlobKind::Secret), ("configs", BlobKind::Config)] {
        let Some(field) = at.get(key) else { continue };
        let grants = match kind {
            BlobKind::Secret => &mut service.secrets,
            BlobKind::Config => &mut service.configs,
        };
        for item in field.list(cx) {
            let Some(grant) = grant(&item, kind, cx) else {
                continue;
            };
            match grants.iter().position(|old| old.target == grant.target) {
                Some(index) => grants[index] = grant,
                None => grants.push(grant),
            }
        }
    }
}

fn grant(item: &At<'_>, kind: BlobKind, cx: &mut Context<'_>) -> Option<BlobGrant> {
    let fields = item.map(cx);
    let Some(source) = fields.iter().find(|field| field.name() == "source") else {
        cx.error(item, "needs `source`");
        return None;
    };
    let name = source.parsed(cx, |text| BlobName::parse(text))?;
    let mut grant = BlobGrant::new(kind, name);
    for field in &fields {
        match field.name() {
            "target" => grant.target = target(kind, &field.text(cx)?),
            "uid" => grant.uid = id(field, cx)?,
            "gid" => grant.gid = id(field, cx)?,
            "mode" => grant.mode = field.mode(cx)?,
            _ => {}
        }
    }
    Some(grant)
}

/// A secret's relative target lies where secrets lie.
fn target(kind: BlobKind, text: &str) -> String {
    match kind {
        _ if text.starts_with('/') => text.to_owned(),
        BlobKind::Secret => format!("/run/secrets/{text}"),
        BlobKind::Config => format!("/{text}"),
    }
}

fn id(field: &At<'_>, cx: &mut Context<'_>) -> Option<u32> {
    let text = field.number_text(cx)?;
    let id = text.parse().ok();
    if id.is_none() {
        cx.error(field, "must be the number of a user or group");
    }
    id
}
