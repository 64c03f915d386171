//! `x-unmoor:` on a service: what Compose has no key for.

use crate::name::{Alias, ServiceName, StackName};
use crate::spec::{
    AddressMode, Bounds, DriftPolicy, Health, HealthTest, HealthWish, Link, Service,
};

use super::super::context::Context;
use super::super::cursor::At;
use super::super::normal::values;
use super::super::text::shown;
use super::super::tree::Value;
use super::{deploy, health};

// The keys; `docs/x-unmoor.schema.json` describes them for editors.
const SETTINGS: [&str; 14] = [
    "drift",
    "links",
    "drain",
    "health",
    "order",
    "replicas",
    "cut_off",
    "placement",
    "userns",
    "address_mode",
    "deadline",
    "max_surge",
    "max_unavailable",
    "canary",
];
const LINK: [&str; 4] = ["service", "stack", "alias", "port"];
const HTTP: [&str; 2] = ["port", "path"];
const TCP: [&str; 1] = ["port"];
const BOUNDS: [&str; 2] = ["min", "max"];
const PLACEMENT: [&str; 1] = ["backends"];

/// Reads our own settings.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(field) = at.get("x-unmoor") else {
        return;
    };
    for part in field.fields(cx, &SETTINGS) {
        match part.name() {
            "links" => {
                for item in part.list(cx) {
                    let link = link(&item, cx);
                    service.links.extend(link);
                }
            }
            "drain" => service.update.drain = part.duration(cx).unwrap_or_default(),
            "drift" => service.drift = drift(&part, cx).unwrap_or_default(),
            "order" => service.update.order = deploy::order(&part, cx),
            "replicas" => service.bounds = bounds(&part, cx),
            "cut_off" => cut_off(&part, cx),
            "placement" => placement(&part, cx),
            "userns" => service.security.own_ids = own_ids(&part, cx),
            "address_mode" => address_mode(&part, service, cx),
            "deadline" => {
                let deadline = part.duration(cx);
                service.update.deadline = deadline.unwrap_or(service.update.deadline);
            }
            "max_surge" => service.update.max_surge = part.count(cx),
            "max_unavailable" => service.update.max_unavailable = part.count(cx),
            "canary" => service.update.canary = canary(&part, cx),
            _ => check(&part, at.get("healthcheck").is_some(), service, cx),
        }
    }
}

/// How many replicas are replaced before the others.
fn canary(field: &At<'_>, cx: &mut Context<'_>) -> Option<u32> {
    if field.raw().trim_end().ends_with('%') {
        let text = "no backend sends a share of the connections to new replicas";
        cx.error_hint(field, text, "say how many replicas are replaced first");
        return None;
    }
    let count = field.count(cx)?;
    if count == 0 {
        cx.error_hint(field, "there is nothing to try", "leave it out, or say 1");
        return None;
    }
    Some(count)
}

/// What becomes of what somebody changed on the platform.
fn drift(field: &At<'_>, cx: &mut Context<'_>) -> Option<DriftPolicy> {
    match field.text(cx)?.as_str() {
        "reconcile" => Some(DriftPolicy::Reconcile),
        "report" => Some(DriftPolicy::Report),
        "ignore" => Some(DriftPolicy::Ignore),
        other => {
            let text = format!("`{}` is not possible here", shown(other));
            cx.error_hint(field, text, "use reconcile, report or ignore");
            None
        }
    }
}

/// `{min?, max?}`; what is not said is no bound.
fn bounds(at: &At<'_>, cx: &mut Context<'_>) -> Option<Bounds> {
    let mut bounds = Bounds {
        min: 0,
        max: u32::MAX,
    };
    for field in at.fields(cx, &BOUNDS) {
        let bound = match field.name() {
            "min" => &mut bounds.min,
            _ => &mut bounds.max,
        };
        *bound = field.count(cx)?;
    }
    if bounds.min > bounds.max {
        let text = format!("`min` {} is above `max` {}", bounds.min, bounds.max);
        cx.error(at, text);
        return None;
    }
    Some(bounds)
}

/// What a replica does whose node is cut off from the others.
fn cut_off(field: &At<'_>, cx: &mut Context<'_>) {
    let Some(text) = field.text(cx) else { return };
    let after = text.strip_prefix("stop ").map(values::time);
    match (text.as_str(), after) {
        ("keep", _) => {}
        ("at-most-one", _) | (_, Some(Ok(1..))) => {
            let text = "no backend stops a replica whose node is cut off: it runs on";
            cx.unsupported(field, text, "leave it out, or write keep");
        }
        _ => {
            let text = format!("`{}` is not possible here", shown(&text));
            cx.error_hint(
                field,
                text,
                "use keep, at-most-one or stop with a time, as stop 30s",
            );
        }
    }
}

/// `{backends: […]}`: which of several backends a service may run on.
fn placement(at: &At<'_>, cx: &mut Context<'_>) {
    for field in at.fields(cx, &PLACEMENT) {
        if !field.texts(cx).is_empty() {
            let text = "a stack runs on one backend, the one that it is applied to";
            cx.unsupported(
                &field,
                text,
                "leave it out, and write a stack for each backend",
            );
        }
    }
}

/// Whose user and group ids a replica has.
fn own_ids(field: &At<'_>, cx: &mut Context<'_>) -> bool {
    let Some(text) = field.text(cx) else {
        return false;
    };
    match text.as_str() {
        "own" => return true,
        "node" => {
            let text =
                "no backend gives a replica the ids of its node: its root would be the node's";
            cx.unsupported(field, text, "leave it out, or write own");
        }
        other => {
            let text = format!("`{}` is not possible here", shown(other));
            cx.error_hint(field, text, "use own or node");
        }
    }
    false
}

/// What the service's name resolves to; `deploy.endpoint_mode` must not say otherwise.
fn address_mode(field: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(text) = field.text(cx) else { return };
    let mode = match text.as_str() {
        "stable" => AddressMode::Stable,
        "replicas" => AddressMode::Replicas,
        other => {
            let text = format!("`{}` is not possible here", shown(other));
            cx.error_hint(field, text, "use stable or replicas");
            return;
        }
    };
    if service.address_mode.is_some_and(|other| other != mode) {
        let text = "differs from `deploy.endpoint_mode`";
        cx.error_hint(field, text, "keep one of the two");
    }
    service.address_mode = Some(mode);
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
    let fields = item.fields(cx, &LINK);
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
    for field in at.fields(cx, &HTTP) {
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
    for field in at.fields(cx, &TCP) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::super::{Environment, LoadErrors, LoadOptions, OnUnsupported, Source, load};
    use super::{AddressMode, BOUNDS, Bounds, CHECK, HTTP, LINK, PLACEMENT, SETTINGS, TCP};

    fn schema() -> Value {
        let text = include_str!("../../../../docs/x-unmoor.schema.json");
        serde_json::from_str(text).expect("valid JSON")
    }

    fn with(settings: &Value) -> Result<(), LoadErrors> {
        let services = json!({
            "a": { "image": "x", "x-unmoor": settings },
            "db": { "image": "y" },
        });
        // JSON is YAML.
        let text = json!({ "name": "t", "services": services }).to_string();
        let source = Source::new("c.yaml", text);
        load(&[source], &Environment::new(), &LoadOptions::default()).map(|_| ())
    }

    #[test]
    fn what_no_backend_does_is_told_where_it_stands() {
        for (setting, place) in [
            (
                "cut_off: at-most-one",
                "c.yaml:4:25: services.a.x-unmoor.cut_off: ",
            ),
            (
                "cut_off: stop 30s",
                "c.yaml:4:25: services.a.x-unmoor.cut_off: ",
            ),
            ("userns: node", "c.yaml:4:24: services.a.x-unmoor.userns: "),
            (
                "placement: {backends: [a]}",
                "c.yaml:4:28: services.a.x-unmoor.placement.backends: ",
            ),
        ] {
            let text = format!("services:\n  a:\n    image: x\n    x-unmoor: {{{setting}}}\n");
            let source = || [Source::new("c.yaml", text.clone()).directory("/t")];
            let (env, options) = (Environment::new(), LoadOptions::default());
            let failed = load(&source(), &env, &options).expect_err("nobody can");
            assert_eq!(failed.errors.len(), 1, "{failed}");
            assert_eq!(failed.errors[0].kind(), crate::ErrorKind::Unsupported);
            assert!(failed.to_string().starts_with(place), "{failed}");
            let lenient = options.unsupported(OnUnsupported::Warn);
            let loaded = load(&source(), &env, &lenient).expect("left out");
            assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
        }
    }

    #[test]
    fn settings_reach_the_service() {
        let text = "services: {a: {image: x, scale: 2, x-unmoor: {cut_off: keep, userns: own, address_mode: replicas, replicas: {min: 1, max: 3}}}}\n";
        let source = Source::new("c.yaml", text).directory("/t");
        let loaded = load(&[source], &Environment::new(), &LoadOptions::default());
        let stack = loaded.expect("valid").stack;
        let service = &stack.services.values().next().expect("a");
        assert_eq!(service.bounds, Some(Bounds { min: 1, max: 3 }));
        assert_eq!(service.address_mode, Some(AddressMode::Replicas));
        assert!(service.security.own_ids);
        let other = text.replace("scale: 2", "scale: 4");
        let source = Source::new("c.yaml", other).directory("/t");
        let failed = load(&[source], &Environment::new(), &LoadOptions::default());
        let said = failed.expect_err("too many").to_string();
        assert!(said.contains("allows 1 to 3"), "{said}");
    }

    #[test]
    fn the_schema_has_just_the_keys_that_are_read() {
        let schema = schema();
        let read = [
            ("service", SETTINGS.as_slice()),
            ("link", &LINK),
            ("health", &CHECK),
            ("http", &HTTP),
            ("tcp", &TCP),
            ("bounds", &BOUNDS),
            ("placement", &PLACEMENT),
        ];
        for (name, keys) in read {
            let described = &schema["definitions"][name];
            let properties = described["properties"].as_object().expect("properties");
            let described_keys: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            assert_eq!(described_keys, keys.iter().copied().collect(), "{name}");
            assert_eq!(described["additionalProperties"], false, "{name}");
        }
        let all = schema["definitions"].as_object().expect("definitions");
        assert_eq!(all.len(), read.len(), "a definition that nothing reads");
    }

    #[test]
    fn every_example_of_the_schema_is_accepted_and_its_opposite_is_not() {
        let schema = schema();
        let settings = &schema["definitions"]["service"]["properties"];
        let examples = |node: &Value| node["examples"].as_array().cloned().unwrap_or_default();
        let mut tried = 0;
        for (key, described) in settings.as_object().expect("properties") {
            let named = described["$ref"].as_str().unwrap_or_default();
            let named = named.trim_start_matches("#/definitions/");
            let more = examples(&schema["definitions"][named]);
            for example in examples(described).into_iter().chain(more) {
                let settings = json!({ key.as_str(): example });
                assert!(with(&settings).is_ok(), "{settings}");
                tried += 1;
            }
        }
        assert!(tried >= 5, "{tried} examples");
        for wrong in [
            json!({ "drain": 5 }),
            json!({ "order": "sideways" }),
            json!({ "drift": "away" }),
            json!({ "deadline": 5 }),
            json!({ "max_surge": -1 }),
            json!({ "max_unavailable": "some" }),
            json!({ "canary": 0 }),
            json!({ "canary": "25%" }),
            json!({ "links": [{ "alias": "x" }] }),
            json!({ "links": [{ "service": "db", "port": 0 }] }),
            json!({ "health": { "interval": "1s" } }),
            json!({ "health": { "http": { "path": "/" } } }),
            json!({ "health": { "http": { "port": 1 }, "tcp": { "port": 1 } } }),
            json!({ "replicas": { "min": 2, "max": 1 } }),
            json!({ "replicas": { "min": 2 } }),
            json!({ "replicas": 3 }),
            json!({ "cut_off": "stop" }),
            json!({ "cut_off": "stop 0s" }),
            json!({ "cut_off": "whatever" }),
            json!({ "placement": { "nodes": ["a"] } }),
            json!({ "userns": "shared" }),
            json!({ "userns": true }),
            json!({ "address_mode": "vip" }),
            json!({ "address_mode": null }),
            json!({ "more": 1 }),
        ] {
            assert!(with(&wrong).is_err(), "{wrong}");
        }
    }
}
