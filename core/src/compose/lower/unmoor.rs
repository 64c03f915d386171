//! `x-unmoor:` on a service: what Compose has no key for.

use crate::name::{Alias, ServiceName, StackName};
use crate::spec::{Health, HealthTest, HealthWish, Link, Service};

use super::super::context::Context;
use super::super::cursor::At;
use super::super::tree::Value;
use super::{deploy, health};

/// Reads our own settings.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(field) = at.get("x-unmoor") else {
        return;
    };
    for part in field.fields(cx, &["links", "drain", "health", "order"]) {
        match part.name() {
            "links" => {
                for item in part.list(cx) {
                    let link = link(&item, cx);
                    service.links.extend(link);
                }
            }
            "drain" => service.update.drain = part.duration(cx).unwrap_or_default(),
            "order" => service.update.order = deploy::order(&part, cx),
            _ => check(&part, at.get("healthcheck").is_some(), service, cx),
        }
    }
}

/// `{service, stack?, alias?, port?}`, or `service[:alias]`.
fn link(item: &At<'_>, cx: &mut Context<'_>) -> Option<Link> {
    if !matches!(item.node.value, Value::Map(_)) {
        let text = item.text(cx)?;
        let (service, alias) = text.split_once(':').unwrap_or((&text, &text));
        let service = item.parsed(cx, |_| ServiceName::parse(service))?;
        let alias = item.parsed(cx, |_| Alias::parse(alias))?;
        return Some(Link::to(service).alias(alias));
    }
    let fields = item.fields(cx, &["service", "stack", "alias", "port"]);
    let Some(service) = fields.iter().find(|field| field.name() == "service") else {
        cx.error(item, "needs `service`");
        return None;
    };
    let mut link = Link::to(service.parsed(cx, |text| ServiceName::parse(text))?);
    for field in &fields {
        match field.name() {
            "stack" => link.target.stack = Some(field.parsed(cx, |text| StackName::parse(text))?),
            "alias" => link.alias = field.parsed(cx, |text| Alias::parse(text))?,
            "port" => link.port = Some(port(field, cx)?),
            _ => {}
        }
    }
    Some(link)
}

fn port(field: &At<'_>, cx: &mut Context<'_>) -> Option<u16> {
    let number = field.integer(cx)?;
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    if port.is_none() {
        cx.error(field, format!("{number} is not a port"));
    }
    port
}

const CHECK: [&str; 7] = [
    "http",
    "tcp",
    "interval",
    "timeout",
    "retries",
    "start_period",
    "start_interval",
];

fn check(field: &At<'_>, has_other: bool, service: &mut Service, cx: &mut Context<'_>) {
    if has_other {
        cx.error_hint(
            field,
            "cannot stand beside `healthcheck`",
            "keep one of the two",
        );
        return;
    }
    let mut tests = Vec::new();
    let mut health = Health::new(HealthTest::Tcp { port: 0 });
    let before = cx.has_errors();
    for part in field.fields(cx, &CHECK) {
        match part.name() {
            "http" => tests.extend(http(&part, cx)),
            "tcp" => tests.extend(tcp(&part, cx)),
            _ => health::time(&part, &mut health, cx),
        }
    }
    if tests.len() > 1 || (tests.is_empty() && cx.has_errors() == before) {
        cx.error(field, "needs one of `http` and `tcp`");
    } else if let Some(test) = tests.pop() {
        health.test = test;
        service.health = HealthWish::Check(health);
    }
}

fn http(at: &At<'_>, cx: &mut Context<'_>) -> Option<HealthTest> {
    let mut path = "/".to_owned();
    let mut number = None;
    for field in at.fields(cx, &["port", "path"]) {
        match field.name() {
            "port" => number = port(&field, cx),
            _ => path = field.text(cx)?,
        }
    }
    if !path.starts_with('/') || path.contains(|c: char| c.is_control() || c == ' ') {
        cx.error_hint(at, "the path is not one", "start it with /, without spaces");
        return None;
    }
    needed(at, number, cx).map(|port| HealthTest::Http { port, path })
}

fn tcp(at: &At<'_>, cx: &mut Context<'_>) -> Option<HealthTest> {
    let mut number = None;
    for field in at.fields(cx, &["port"]) {
        number = port(&field, cx);
    }
    needed(at, number, cx).map(|port| HealthTest::Tcp { port })
}

fn needed(at: &At<'_>, port: Option<u16>, cx: &mut Context<'_>) -> Option<u16> {
    if port.is_none() && at.get("port").is_none() {
        cx.error(at, "needs `port`");
    }
    port
}
