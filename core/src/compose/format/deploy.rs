//! The keys of `deploy`.

use super::Form::{
    Bytes, Count, CountOrZero, Cpus, Float, Pairs, Part, Parts, Text, Texts, Time, TimeOrZero,
    Value, Whole, WholeOrZero,
};
use super::shapes::{DEVICES, NUMBER_TEXT, PAIRS, TEXT_LIST, TEXT_ONLY, WHOLE_TEXT};
use super::{Field, Form, NULL, Shape, TEXT};

const fn f(key: &'static str, shape: &'static Shape, form: Form) -> Field {
    Field::new(key, shape, form)
}

pub(super) static DEPLOY: Shape = Shape::scalar(NULL).part(&[
    f("mode", &TEXT_ONLY, Text),
    f("replicas", &WHOLE_TEXT, WholeOrZero),
    f("labels", &PAIRS, Pairs),
    f("update_config", &UPDATE, Part),
    f("rollback_config", &UPDATE, Part),
    f("resources", &RESOURCES, Form::Always),
    f("restart_policy", &RESTART, Part),
    f("placement", &PLACEMENT, Form::Always),
    f("endpoint_mode", &TEXT_ONLY, Text),
]);

static ORDER: Shape = Shape::scalar(TEXT).words(&["start-first", "stop-first"]);
static UPDATE: Shape = Shape::scalar(0).part(&[
    f("parallelism", &WHOLE_TEXT, CountOrZero),
    f("delay", &TEXT_ONLY, Time),
    f("failure_action", &TEXT_ONLY, Text),
    f("monitor", &TEXT_ONLY, Time),
    f("max_failure_ratio", &NUMBER_TEXT, Float),
    f("order", &ORDER, Text),
]);

static LIMITS: Shape = Shape::scalar(0).part(&[
    f("cpus", &NUMBER_TEXT, Cpus),
    f("memory", &TEXT_ONLY, Bytes),
    f("pids", &WHOLE_TEXT, Whole),
]);
static RESERVATIONS: Shape = Shape::scalar(0).part(&[
    f("cpus", &NUMBER_TEXT, Cpus),
    f("memory", &TEXT_ONLY, Bytes),
    f("devices", &DEVICES, Parts),
    f("generic_resources", &GENERIC, Parts),
]);
static RESOURCES: Shape = Shape::scalar(0).part(&[
    f("limits", &LIMITS, Part),
    f("reservations", &RESERVATIONS, Part),
]);
static DISCRETE: Shape = Shape::scalar(0).part(&[
    f("kind", &TEXT_ONLY, Value),
    f("value", &NUMBER_TEXT, Value),
]);
static GENERIC_ITEM: Shape = Shape::scalar(0).part(&[f("discrete_resource_spec", &DISCRETE, Part)]);
static GENERIC: Shape = Shape::scalar(0).list(&GENERIC_ITEM);

static RESTART: Shape = Shape::scalar(0).part(&[
    f("condition", &TEXT_ONLY, Text),
    f("delay", &TEXT_ONLY, TimeOrZero),
    f("max_attempts", &WHOLE_TEXT, CountOrZero),
    f("window", &TEXT_ONLY, TimeOrZero),
]);

static SPREAD: Shape = Shape::scalar(0).part(&[f("spread", &TEXT_ONLY, Text)]);
static PREFERENCES: Shape = Shape::scalar(0).list(&SPREAD);
static PLACEMENT: Shape = Shape::scalar(0).part(&[
    f("constraints", &TEXT_LIST, Texts),
    f("preferences", &PREFERENCES, Parts),
    f("max_replicas_per_node", &WHOLE_TEXT, Count),
]);
