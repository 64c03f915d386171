//! The top of a file, and what stands beside the services there.

use super::Form::{
    Always, Choice, External as Exists, Flag, Options, Pairs, Parts, Section, Strict, Text, Texts,
    Whole,
};
use super::service::SERVICE;
use super::shapes::{
    DRIVER_OPTIONS, EXTERNAL, FLAG_TEXT, LOOSE_EXTERNAL, PAIRS, TEXT_LIST, TEXT_ONLY, TEXT_OPTIONS,
    TEXT_OR_SET, WHOLE_ONLY,
};
use super::{Field, Form, NULL, Others, Shape, TEXT};

const fn f(key: &'static str, shape: &'static Shape, form: Form) -> Field {
    Field::new(key, shape, form)
}

/// A whole file; the order is that of printing.
pub(in super::super) static TOP: Shape = Shape::scalar(0).part(&[
    f("version", &TEXT_ONLY, Form::Drop),
    f("name", &TEXT_ONLY, Text),
    f("include", &INCLUDES, Form::Drop),
    f("services", &SERVICES, Section),
    f("networks", &NETWORKS, Section),
    f("volumes", &VOLUMES, Section),
    f("secrets", &SECRETS, Section),
    f("configs", &CONFIGS, Section),
    f("models", &MODELS, Section),
]);

static INCLUDE: Shape = Shape::scalar(TEXT).closed(&[
    f("path", &TEXT_OR_SET, Texts),
    f("env_file", &TEXT_OR_SET, Texts),
    f("project_directory", &TEXT_ONLY, Text),
]);
static INCLUDES: Shape = Shape::scalar(0).list(&INCLUDE);

static SERVICES: Shape = Shape::scalar(0).by(Others::Names(&SERVICE));
static NETWORKS: Shape = Shape::scalar(0).by(Others::LooseNames(&NETWORK));
static VOLUMES: Shape = Shape::scalar(0).by(Others::Names(&VOLUME));
static SECRETS: Shape = Shape::scalar(0).by(Others::Names(&SECRET));
static CONFIGS: Shape = Shape::scalar(0).by(Others::Names(&CONFIG));
static MODELS: Shape = Shape::scalar(0).by(Others::LooseNames(&MODEL));

static POOL: Shape = Shape::scalar(0).part(&[
    f("subnet", &TEXT_ONLY, Text),
    f("gateway", &TEXT_ONLY, Text),
    f("ip_range", &TEXT_ONLY, Text),
    f("aux_addresses", &TEXT_OPTIONS, Pairs),
]);
static POOLS: Shape = Shape::scalar(0).list(&POOL);
static IPAM: Shape = Shape::scalar(0).part(&[
    f("driver", &TEXT_ONLY, Text),
    f("config", &POOLS, Parts),
    f("options", &TEXT_OPTIONS, Form::Drop),
]);
static NETWORK: Shape = Shape::scalar(NULL).part(&[
    f("name", &TEXT_ONLY, Text),
    f("driver", &TEXT_ONLY, Text),
    f("driver_opts", &DRIVER_OPTIONS, Options),
    f("ipam", &IPAM, Always),
    f("external", &EXTERNAL, Exists),
    f("internal", &FLAG_TEXT, Flag),
    f("attachable", &FLAG_TEXT, Flag),
    f("labels", &PAIRS, Pairs),
    f("enable_ipv4", &FLAG_TEXT, Choice),
    f("enable_ipv6", &FLAG_TEXT, Choice),
]);
static VOLUME: Shape = Shape::scalar(NULL).part(&[
    f("name", &TEXT_ONLY, Text),
    f("driver", &TEXT_ONLY, Text),
    f("driver_opts", &DRIVER_OPTIONS, Options),
    f("external", &EXTERNAL, Exists),
    f("labels", &PAIRS, Pairs),
]);
static SECRET: Shape = Shape::scalar(0).part(&[
    f("name", &TEXT_ONLY, Text),
    f("file", &TEXT_ONLY, Text),
    f("environment", &TEXT_ONLY, Text),
    f("external", &LOOSE_EXTERNAL, Exists),
    f("labels", &PAIRS, Pairs),
    f("driver", &TEXT_ONLY, Text),
    f("driver_opts", &DRIVER_OPTIONS, Strict),
    f("template_driver", &TEXT_ONLY, Text),
]);
static CONFIG: Shape = Shape::scalar(0).part(&[
    f("name", &TEXT_ONLY, Text),
    f("file", &TEXT_ONLY, Text),
    f("environment", &TEXT_ONLY, Text),
    f("content", &TEXT_ONLY, Text),
    f("external", &LOOSE_EXTERNAL, Exists),
    f("labels", &PAIRS, Pairs),
    f("template_driver", &TEXT_ONLY, Text),
]);
static MODEL: Shape = Shape::scalar(0)
    .part(&[
        f("name", &TEXT_ONLY, Text),
        f("model", &TEXT_ONLY, Text),
        f("context_size", &WHOLE_ONLY, Whole),
        f("runtime_flags", &TEXT_LIST, Texts),
    ])
    .required(&["model"]);
