//! Shapes that stand at more than one place of the format.

use super::{FLAG, Field, Form, NULL, NUMBER, Others, Shape, TEXT, WHOLE};

pub(super) static TEXT_ONLY: Shape = Shape::scalar(TEXT);
pub(super) static FLAG_ONLY: Shape = Shape::scalar(FLAG);
pub(super) static WHOLE_ONLY: Shape = Shape::scalar(WHOLE);
pub(super) static NUMBER_ONLY: Shape = Shape::scalar(NUMBER);
pub(super) static FLAG_TEXT: Shape = Shape::scalar(FLAG | TEXT);
pub(super) static WHOLE_TEXT: Shape = Shape::scalar(WHOLE | TEXT);
pub(super) static NUMBER_TEXT: Shape = Shape::scalar(NUMBER | TEXT);
pub(super) static NULL_TEXT: Shape = Shape::scalar(NULL | TEXT);
static PAIR: Shape = Shape::scalar(TEXT | NUMBER | FLAG | NULL);
static OPTION: Shape = Shape::scalar(TEXT | NUMBER | FLAG);

pub(super) static TEXT_LIST: Shape = Shape::scalar(0).list(&TEXT_ONLY);
/// A list of texts, none of them twice.
pub(super) static TEXT_SET: Shape = Shape::scalar(0).set(&TEXT_ONLY);
pub(super) static NUMBER_SET: Shape = Shape::scalar(0).set(&NUMBER_TEXT);
pub(super) static TEXT_OR_LIST: Shape = Shape::scalar(TEXT).list(&TEXT_ONLY);
pub(super) static TEXT_OR_SET: Shape = Shape::scalar(TEXT).set(&TEXT_ONLY);
pub(super) static PAIRS: Shape = Shape::scalar(0).set(&TEXT_ONLY).by(Others::Texts(&PAIR));
pub(super) static COMMAND: Shape = Shape::scalar(TEXT | NULL).list(&TEXT_ONLY);
pub(super) static DRIVER_OPTIONS: Shape = Shape::scalar(0).by(Others::Anything(&NUMBER_TEXT));
static LOG_OPTION: Shape = Shape::scalar(TEXT | NUMBER | NULL);
pub(super) static LOG_OPTIONS: Shape = Shape::scalar(0).by(Others::Anything(&LOG_OPTION));
pub(super) static TEXT_OPTIONS: Shape = Shape::scalar(0).by(Others::Texts(&TEXT_ONLY));
static MANY_OPTION: Shape = Shape::scalar(TEXT | NUMBER | FLAG).list(&OPTION);
pub(super) static MANY_OPTIONS: Shape = Shape::scalar(0).by(Others::Anything(&MANY_OPTION));
pub(super) static FREE_MAP: Shape = Shape::scalar(0).by(Others::Free);
static HOST: Shape = Shape::scalar(TEXT).list(&TEXT_ONLY);
pub(super) static HOSTS: Shape = Shape::scalar(0).set(&TEXT_ONLY).by(Others::Texts(&HOST));

static ULIMIT: Shape = Shape::scalar(WHOLE | TEXT)
    .part(&[
        Field::new("soft", &WHOLE_TEXT, Form::Whole),
        Field::new("hard", &WHOLE_TEXT, Form::Whole),
    ])
    .required(&["soft", "hard"]);
pub(super) static ULIMITS: Shape = Shape::scalar(0).by(Others::Letters(&ULIMIT));

static GRANT: Shape = Shape::scalar(TEXT).part(&[
    Field::new("source", &TEXT_ONLY, Form::Text),
    Field::new("target", &TEXT_ONLY, Form::Text),
    Field::new("uid", &TEXT_ONLY, Form::Text),
    Field::new("gid", &TEXT_ONLY, Form::Text),
    Field::new("mode", &NUMBER_TEXT, Form::Mode),
]);
/// Secrets or configs that a service or a build gets.
pub(super) static GRANTS: Shape = Shape::scalar(0).list(&GRANT);

pub(super) static HOOK: Shape = Shape::scalar(0)
    .part(&[
        Field::new("command", &COMMAND, Form::Command),
        Field::new("user", &TEXT_ONLY, Form::Text),
        Field::new("privileged", &FLAG_TEXT, Form::Flag),
        Field::new("working_dir", &TEXT_ONLY, Form::Text),
        Field::new("environment", &PAIRS, Form::Variables),
    ])
    .required(&["command"]);
pub(super) static HOOKS: Shape = Shape::scalar(0).list(&HOOK);

static EXTERNAL_PARTS: [Field; 1] = [Field::new("name", &TEXT_ONLY, Form::Text)];
pub(super) static EXTERNAL: Shape = Shape::scalar(FLAG | TEXT).part(&EXTERNAL_PARTS);
/// Of secrets and configs, where other keys pass too.
pub(super) static LOOSE_EXTERNAL: Shape = Shape::scalar(FLAG | TEXT)
    .part(&EXTERNAL_PARTS)
    .others(Others::Free);

static DEVICE_COUNT: Shape = Shape::scalar(TEXT | WHOLE);
static DEVICE_KEYS: [Field; 5] = [
    Field::new("capabilities", &TEXT_SET, Form::Texts),
    Field::new("driver", &TEXT_ONLY, Form::Text),
    Field::new("count", &DEVICE_COUNT, Form::Devices),
    Field::new("device_ids", &TEXT_SET, Form::Texts),
    Field::new("options", &PAIRS, Form::Pairs),
];
static DEVICE: Shape = Shape::scalar(0)
    .part(&DEVICE_KEYS)
    .required(&["capabilities"]);
/// Devices that a service reserves.
pub(super) static DEVICES: Shape = Shape::scalar(0).list(&DEVICE);
static GPU: Shape = Shape::scalar(0).part(&DEVICE_KEYS).others(Others::Free);
pub(super) static GPUS: Shape = Shape::scalar(TEXT).words(&["all"]).list(&GPU);
