//! Limits: `cpus`, `mem_limit`, `pids_limit` and their kin, and `deploy.resources`.

use crate::spec::Service;
use crate::units::{Bytes, MilliCpu};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;

/// Reads the limits; where both forms are there they must agree.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let limits = &mut service.resources;
    limits.cpu = at.get("cpus").and_then(|field| cpus(&field, cx));
    if limits.cpu.is_none() {
        limits.cpu = quota(at, cx);
    }
    limits.memory = at.get("mem_limit").and_then(|field| memory(&field, cx));
    limits.memory_reservation = at
        .get("mem_reservation")
        .and_then(|field| memory(&field, cx));
    limits.cpu_shares = at.get("cpu_shares").and_then(|field| shares(&field, cx));
    limits.pids = at.get("pids_limit").and_then(|field| pids(&field, cx));
    let Some(deploy) = at.get("deploy") else {
        return;
    };
    let Some(resources) = deploy
        .get("resources")
        .filter(|field| !field.node.is_null())
    else {
        return;
    };
    for part in resources.fields(cx, &["limits", "reservations"]) {
        match part.name() {
            _ if part.node.is_null() => {}
            "limits" => deploy_limits(&part, service, cx),
            _ => reservations(&part, service, cx),
        }
    }
}

fn deploy_limits(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    for field in at.fields(cx, &["cpus", "memory", "pids"]) {
        let limits = &mut service.resources;
        match field.name() {
            "cpus" => {
                let value = cpus(&field, cx);
                limits.cpu = agreed(&field, limits.cpu, value, "cpus", cx);
            }
            "memory" => {
                let value = memory(&field, cx);
                limits.memory = agreed(&field, limits.memory, value, "mem_limit", cx);
            }
            _ => {
                let value = pids(&field, cx);
                limits.pids = agreed(&field, limits.pids, value, "pids_limit", cx);
            }
        }
    }
}

const RESERVATIONS: [&str; 4] = ["cpus", "memory", "devices", "generic_resources"];

fn reservations(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    for field in at.fields(cx, &RESERVATIONS) {
        match field.name() {
            "memory" => {
                let value = memory(&field, cx);
                let old = service.resources.memory_reservation;
                service.resources.memory_reservation =
                    agreed(&field, old, value, "mem_reservation", cx);
            }
            "cpus" => {
                if cpus(&field, cx).is_some() {
                    cx.warn(&field, Level::Note, "has no effect outside of a swarm");
                }
            }
            "devices" => cx.unsupported(
                &field,
                "devices such as graphics cards cannot be given to a service",
                "",
            ),
            _ => cx.warn(&field, Level::Note, "has no effect outside of a swarm"),
        }
    }
}

/// The value of both forms, or a report that they differ.
fn agreed<T: PartialEq + Copy>(
    field: &At<'_>,
    short: Option<T>,
    long: Option<T>,
    key: &str,
    cx: &mut Context<'_>,
) -> Option<T> {
    if short.is_some() && long.is_some() && short != long {
        cx.error_hint(
            field,
            format!("differs from `{key}`"),
            "keep one of the two",
        );
    }
    long.or(short)
}

/// Processors; 0 is no limit.
fn cpus(field: &At<'_>, cx: &mut Context<'_>) -> Option<MilliCpu> {
    let text = field.number_text(cx)?;
    match MilliCpu::parse(&text) {
        Ok(share) => Some(share).filter(|share| share.0 > 0),
        Err(error) => {
            cx.error(field, error.to_string());
            None
        }
    }
}

/// `cpu_quota` of `cpu_period` microseconds, the older way to write `cpus`.
fn quota(at: &At<'_>, cx: &mut Context<'_>) -> Option<MilliCpu> {
    let period = match at.get("cpu_period") {
        Some(field) => field.integer(cx)?,
        None => 100_000,
    };
    let field = at.get("cpu_quota")?;
    let quota = field.integer(cx)?;
    if period <= 0 {
        cx.error(&field, "needs a `cpu_period` above zero");
        return None;
    }
    let milli = i128::from(quota.max(0)) * 1000 / i128::from(period);
    let share = u32::try_from(milli).ok().map(MilliCpu);
    share.filter(|share| share.0 > 0)
}

/// Memory; 0 is no limit.
fn memory(field: &At<'_>, cx: &mut Context<'_>) -> Option<Bytes> {
    field.bytes(cx).filter(|bytes| bytes.0 > 0)
}

/// Processes; 0 and below are no limit.
fn pids(field: &At<'_>, cx: &mut Context<'_>) -> Option<u32> {
    let number = field.integer(cx)?;
    u32::try_from(number).ok().filter(|number| *number > 0)
}

/// The weight of processor time, within what the kernel knows; 0 is the usual one.
fn shares(field: &At<'_>, cx: &mut Context<'_>) -> Option<u32> {
    let number = field.integer(cx)?;
    if number < 0 {
        cx.error(field, "must be 0 or more");
        return None;
    }
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    (number > 0).then(|| number.clamp(SHARES_MIN, SHARES_MAX))
}

/// The kernel's smallest weight.
const SHARES_MIN: u32 = 2;
/// The kernel's largest weight.
const SHARES_MAX: u32 = 262_144;
