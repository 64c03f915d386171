//! `healthcheck`.

use std::time::Duration;

use crate::spec::{Health, HealthTest, HealthWish, Service};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;

/// The keys that set the pace of a check.
pub(super) const TIMES: [&str; 5] = [
    "interval",
    "timeout",
    "retries",
    "start_period",
    "start_interval",
];
/// Reads `healthcheck`.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(field) = at.get("healthcheck") else {
        return;
    };
    let fields = field.map(cx);
    let mut health = Health::new(HealthTest::Exec(Vec::new()));
    let mut wanted = Test::Unsaid;
    let mut disabled = false;
    for part in &fields {
        match part.name() {
            "test" => wanted = test(part, cx),
            "disable" => disabled = part.boolean(cx).unwrap_or_default(),
            key if TIMES.contains(&key) => time(part, &mut health, cx),
            _ => {}
        }
    }
    service.health = match wanted {
        _ if disabled => HealthWish::Disabled,
        Test::None => HealthWish::Disabled,
        Test::Check(test) => {
            health.test = test;
            HealthWish::Check(health)
        }
        Test::Unsaid => {
            if fields.iter().any(|part| TIMES.contains(&part.name())) {
                let text = "without `test` the image's own check keeps its own times";
                cx.warn(&field, Level::Ignored, text);
            }
            HealthWish::FromImage
        }
    };
}

enum Test {
    /// Nothing is said: the image's own.
    Unsaid,
    None,
    Check(HealthTest),
}

fn test(field: &At<'_>, cx: &mut Context<'_>) -> Test {
    let mut words = field.texts(cx).into_iter();
    match words.next().as_deref() {
        None => Test::Unsaid,
        Some("NONE") => Test::None,
        Some("CMD") => Test::Check(HealthTest::Exec(words.collect())),
        Some("CMD-SHELL") => {
            let Some(line) = words.next().filter(|line| !line.is_empty()) else {
                return Test::Unsaid;
            };
            if words.next().is_some() {
                let text = "CMD-SHELL runs one string: the further ones are its $0, $1, …";
                cx.warn(field, Level::Trap, text);
            }
            Test::Check(HealthTest::Shell(line))
        }
        // Said of the document as a whole.
        Some(_) => Test::Unsaid,
    }
}

/// Reads one of [`TIMES`]; zero means the default, as in docker.
pub(super) fn time(part: &At<'_>, health: &mut Health, cx: &mut Context<'_>) {
    if part.name() == "retries" {
        if let Some(retries) = part.count(cx).filter(|retries| *retries > 0) {
            health.retries = retries;
        }
        return;
    }
    let Some(value) = part.duration(cx).filter(|value| *value > Duration::ZERO) else {
        return;
    };
    match part.name() {
        "interval" => health.interval = value,
        "timeout" => health.timeout = value,
        "start_period" => health.start_period = value,
        _ => health.start_interval = value,
    }
}
