//! How many and how they are kept: `deploy`, `scale`, `restart`. Limits are read elsewhere.

use crate::spec::{
    AddressMode, FailureAction, RestartPolicy, Role, Service, UpdateOrder, UpdatePolicy,
};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;

const DEPLOY: [&str; 9] = [
    "mode",
    "endpoint_mode",
    "replicas",
    "labels",
    "rollback_config",
    "update_config",
    "resources",
    "restart_policy",
    "placement",
];

/// Reads `restart`, `deploy` and `scale`.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    if let Some(field) = at.get("restart") {
        restart(&field, service, cx);
    }
    let mut replicas = None;
    let deploy = at.get("deploy").filter(|field| !field.node.is_null());
    if let Some(deploy) = &deploy {
        for field in deploy.fields(cx, &DEPLOY) {
            match field.name() {
                "replicas" => replicas = field.count(cx),
                _ => setting(&field, service, cx),
            }
        }
    }
    if let Some(field) = at.get("scale") {
        let scale = field.count(cx);
        if replicas.is_some() && scale.is_some() && replicas != scale {
            cx.error_hint(
                &field,
                "differs from `deploy.replicas`",
                "keep one of the two",
            );
        }
        replicas = scale.or(replicas);
    }
    service.replicas = replicas.unwrap_or(1);
}

fn setting(field: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    match field.name() {
        "mode" => mode(field, service, cx),
        "endpoint_mode" => service.address_mode = endpoint_mode(field, cx),
        "restart_policy" => restart_policy(field, service, cx),
        "update_config" => policy(field, &mut service.update, cx),
        "placement" => placement(field, service, cx),
        "labels" => cx.warn(field, Level::Note, "has no effect outside of a swarm"),
        "rollback_config" => {
            let mut back = UpdatePolicy::default();
            policy(field, &mut back, cx);
            service.rollback = (!field.node.is_null()).then_some(back);
        }
        _ => {}
    }
}

fn mode(field: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(text) = field.text(cx) else { return };
    let one = "there is one replica in all, not one on each node";
    match text.as_str() {
        "replicated" | "" => {}
        "global" => cx.warn(field, Level::Ignored, one),
        "replicated-job" => service.role = Role::Job,
        "global-job" => {
            service.role = Role::Job;
            cx.warn(field, Level::Ignored, one);
        }
        other => {
            let text = format!("`{}` is not a mode", shown(other));
            cx.error_hint(
                field,
                text,
                "use replicated, global, replicated-job or global-job",
            );
        }
    }
}

fn endpoint_mode(field: &At<'_>, cx: &mut Context<'_>) -> Option<AddressMode> {
    match field.text(cx)?.as_str() {
        "vip" | "" => None,
        "dnsrr" => Some(AddressMode::Replicas),
        other => {
            let text = format!("`{}` is not an endpoint mode", shown(other));
            cx.error_hint(field, text, "use vip or dnsrr");
            None
        }
    }
}

fn restart(field: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(text) = field.text(cx) else { return };
    let (policy, most) = match text.split_once(':') {
        Some((policy, most)) => (policy, Some(most)),
        None => (text.as_str(), None),
    };
    let max = most.and_then(|most| most.parse::<u32>().ok());
    if most.is_some() && (max.is_none() || policy != "on-failure") {
        let text = format!("`{}` is not a restart policy", shown(&text));
        cx.error_hint(field, text, "a number stands only behind on-failure:");
        return;
    }
    if let Some(policy) = policy_of(field, policy, max.filter(|max| *max > 0), cx) {
        service.restart = policy;
    }
}

fn policy_of(
    field: &At<'_>,
    text: &str,
    max: Option<u32>,
    cx: &mut Context<'_>,
) -> Option<RestartPolicy> {
    match text {
        "no" | "none" | "" => Some(RestartPolicy::No),
        "always" | "any" => Some(RestartPolicy::Always),
        "unless-stopped" => Some(RestartPolicy::UnlessStopped),
        "on-failure" => Some(RestartPolicy::OnFailure { max }),
        other => {
            let text = format!("`{}` is not a restart policy", shown(other));
            let hint = "use no, always, unless-stopped or on-failure[:times]";
            cx.error_hint(field, text, hint);
            None
        }
    }
}

fn restart_policy(field: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    if field.node.is_null() {
        return;
    }
    let mut condition = None;
    let mut max = None;
    for part in field.fields(cx, &["condition", "delay", "max_attempts", "window"]) {
        match part.name() {
            "condition" => condition = part.text(cx),
            "max_attempts" => max = part.count(cx).filter(|max| *max > 0),
            _ => {
                if part.duration(cx).is_some() {
                    let text = "the pause between restarts grows by itself";
                    cx.warn(&part, Level::Ignored, text);
                }
            }
        }
    }
    if condition.is_none() {
        let text = "without `condition` nothing is restarted, as docker compose has it";
        cx.warn(field, Level::Trap, text);
    }
    let condition = condition.unwrap_or_default();
    if let Some(policy) = policy_of(field, &condition, max, cx) {
        service.restart = policy;
    }
}

const UPDATE: [&str; 6] = [
    "parallelism",
    "order",
    "delay",
    "failure_action",
    "monitor",
    "max_failure_ratio",
];

fn policy(field: &At<'_>, policy: &mut UpdatePolicy, cx: &mut Context<'_>) {
    if field.node.is_null() {
        return;
    }
    for part in field.fields(cx, &UPDATE) {
        match part.name() {
            "parallelism" => policy.parallelism = part.count(cx).unwrap_or(policy.parallelism),
            "order" => policy.order = order(&part, cx),
            "delay" => policy.delay = part.duration(cx).unwrap_or_default(),
            "monitor" => policy.monitor = part.duration(cx).unwrap_or_default(),
            "failure_action" => policy.on_failure = failure_action(&part, cx),
            _ => policy.failures_per_mille = failure_ratio(&part, cx),
        }
    }
}

fn failure_action(field: &At<'_>, cx: &mut Context<'_>) -> FailureAction {
    match field.text(cx).unwrap_or_default().as_str() {
        "pause" | "" => FailureAction::Pause,
        "continue" => FailureAction::Continue,
        "rollback" => FailureAction::Rollback,
        // Docker compose reads any word.
        other => {
            let text = format!(
                "`{}` is none of pause, continue, rollback: an update that fails pauses",
                shown(other)
            );
            cx.warn(field, Level::Ignored, text);
            FailureAction::Pause
        }
    }
}

/// A share from 0 to 1, in thousandths.
fn failure_ratio(field: &At<'_>, cx: &mut Context<'_>) -> u32 {
    let Some(text) = field.number_text(cx) else {
        return 0;
    };
    let share = text.trim().parse::<f64>().ok();
    match share.filter(|share| (0.0..=1.0).contains(share)) {
        Some(share) => format!("{:.0}", share * 1000.0).parse().unwrap_or(0),
        None => {
            let text = "it is no share from 0 to 1: the first failure counts";
            cx.warn(field, Level::Ignored, text);
            0
        }
    }
}

/// `start-first` or `stop-first`.
pub(super) fn order(field: &At<'_>, cx: &mut Context<'_>) -> Option<UpdateOrder> {
    match field.text(cx)?.as_str() {
        "start-first" => Some(UpdateOrder::StartFirst),
        "stop-first" => Some(UpdateOrder::StopFirst),
        other => {
            let text = format!("`{}` is not an order", shown(other));
            cx.error_hint(field, text, "use start-first or stop-first");
            None
        }
    }
}

fn placement(field: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    if field.node.is_null() {
        return;
    }
    let known = ["constraints", "preferences", "max_replicas_per_node"];
    for part in field.fields(cx, &known) {
        match part.name() {
            "constraints" => service.placement.constraints = part.texts(cx),
            "preferences" => cx.warn(&part, Level::Ignored, "replicas are not spread by labels"),
            _ => cx.warn(&part, Level::Ignored, "a node may get more replicas"),
        }
    }
}
