//! The Compose format as a table: every key, what its value may be, and what it comes to.
//!
//! One table serves three readers: `normal::check` refuses what does not fit it, `normal::typed`
//! gives each value its final form, and the order of its keys is the order of printing.

mod deploy;
mod resources;
mod service;
mod shapes;

pub(super) use resources::TOP;

/// Kinds of scalars, as bits.
pub(super) const TEXT: u8 = 1;
pub(super) const NUMBER: u8 = 2;
pub(super) const WHOLE: u8 = 4;
pub(super) const FLAG: u8 = 8;
pub(super) const NULL: u8 = 16;

/// What a value may be, by its kind.
#[derive(Debug)]
pub(super) struct Shape {
    /// The kinds of scalars that may stand here.
    pub(super) scalars: u8,
    /// What a text must be.
    pub(super) text: Words,
    /// What a number must lie within.
    pub(super) range: Option<(i64, i64)>,
    pub(super) list: Option<List>,
    pub(super) map: Option<Map>,
}

/// What a text must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Words {
    Any,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A text that holds something of this form, said in words.
    Like(fn(&str) -> bool, &'static str),
}

/// A list of like items.
#[derive(Debug)]
pub(super) struct List {
    pub(super) item: &'static Shape,
    /// No item may stand twice.
    pub(super) unique: bool,
}

/// A mapping: by known keys, by names of the user's, or both.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) known: &'static [Field],
    pub(super) required: &'static [&'static str],
    pub(super) others: Others,
}

/// What keys a mapping may have beside the known ones.
#[derive(Debug, Clone, Copy)]
pub(super) enum Others {
    /// None at all.
    None,
    /// `x-…`, with any value.
    Extensions,
    /// Names of the user's, whose values are of one shape; other names are refused.
    Names(&'static Shape),
    /// As `Names`, but other names may stand there with any value.
    LooseNames(&'static Shape),
    /// Lower-case letters only are checked; other names may stand there with any value.
    Letters(&'static Shape),
    /// Any text but an empty one; an empty one is refused.
    Texts(&'static Shape),
    /// Any text.
    Anything(&'static Shape),
    /// Not looked at.
    Free,
}

/// One key.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) shape: &'static Shape,
    pub(super) form: Form,
}

/// What a value comes to, and when it is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Valid, and without effect: left out.
    Drop,
    /// A text; left out if empty.
    Text,
    /// `true`; left out if `false`.
    Flag,
    /// `true` or `false`.
    Choice,
    /// A whole number; left out if zero.
    Whole,
    /// A whole number that is not negative; left out if zero.
    Count,
    /// A whole number, also zero.
    WholeOrZero,
    /// A whole number that is not negative, also zero.
    CountOrZero,
    /// A whole number, or the text it stands as; never left out.
    Value,
    /// A number; left out if zero.
    Float,
    /// Processors, as a number.
    Cpus,
    /// Bytes as a text of digits; left out if zero.
    Bytes,
    /// As `Bytes`, also zero.
    BytesOrZero,
    /// A time; left out if zero.
    Time,
    /// A time, also zero.
    TimeOrZero,
    /// Permission bits, as octal text.
    Mode,
    /// A command line; null if there is none, and never left out.
    Command,
    /// The test of a health check.
    Test,
    /// A list of texts; left out if empty.
    Texts,
    /// A list of whatever, as texts.
    Printed,
    /// `NAME=value` pairs whose missing value is an empty text.
    Pairs,
    /// `NAME=value` pairs whose value may be missing.
    Variables,
    /// A mapping to texts.
    Options,
    /// A mapping to lists of texts.
    ManyOptions,
    /// A mapping to texts that takes no numbers but whole ones.
    Strict,
    /// `name=address` lines.
    Hosts,
    /// Keys for SSH.
    Ssh,
    /// How many devices; `all` is -1.
    Devices,
    /// One limit, or a soft and a hard one.
    Ulimits,
    /// A mapping of known keys; left out if absent.
    Part,
    /// A mapping of known keys that is there even if absent.
    Always,
    /// A list of mappings of known keys; left out if empty.
    Parts,
    /// By name, mappings of known keys or null; left out if empty.
    Named,
    /// By name, mappings of known keys.
    Section,
    /// `true` for what exists already; left out otherwise.
    External,
    /// Files of variables.
    EnvFiles,
    /// A text that was made of whatever stood there.
    Stringified,
}

/// The keys of a service, in the order of printing.
pub(super) fn service_keys() -> impl Iterator<Item = &'static str> {
    service::SERVICE.fields().iter().map(|field| field.key)
}

impl Field {
    pub(super) const fn new(key: &'static str, shape: &'static Shape, form: Form) -> Self {
        Self { key, shape, form }
    }
}

impl Shape {
    /// A scalar of these kinds.
    pub(super) const fn scalar(scalars: u8) -> Self {
        Self {
            scalars,
            text: Words::Any,
            range: None,
            list: None,
            map: None,
        }
    }

    pub(super) const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.text = Words::OneOf(words);
        self
    }

    pub(super) const fn like(mut self, test: fn(&str) -> bool, said: &'static str) -> Self {
        self.text = Words::Like(test, said);
        self
    }

    pub(super) const fn within(mut self, low: i64, high: i64) -> Self {
        self.range = Some((low, high));
        self
    }

    pub(super) const fn list(mut self, item: &'static Shape) -> Self {
        self.list = Some(List {
            item,
            unique: false,
        });
        self
    }

    pub(super) const fn set(mut self, item: &'static Shape) -> Self {
        self.list = Some(List { item, unique: true });
        self
    }

    /// A mapping of known keys and extensions.
    pub(super) const fn part(mut self, known: &'static [Field]) -> Self {
        self.map = Some(Map {
            known,
            required: &[],
            others: Others::Extensions,
        });
        self
    }

    /// A mapping of known keys and nothing else.
    pub(super) const fn closed(mut self, known: &'static [Field]) -> Self {
        self.map = Some(Map {
            known,
            required: &[],
            others: Others::None,
        });
        self
    }

    /// A mapping by names of the user's.
    pub(super) const fn by(mut self, others: Others) -> Self {
        self.map = Some(Map {
            known: &[],
            required: &[],
            others,
        });
        self
    }

    /// Sets what other keys the mapping may have.
    pub(super) const fn others(mut self, others: Others) -> Self {
        if let Some(map) = &mut self.map {
            map.others = others;
        }
        self
    }

    pub(super) const fn required(mut self, keys: &'static [&'static str]) -> Self {
        if let Some(map) = &mut self.map {
            map.required = keys;
        }
        self
    }

    /// The known keys of a mapping of this shape, or of the mappings in a list of it.
    pub(super) fn fields(&self) -> &'static [Field] {
        if let Some(map) = &self.map {
            return match map.others {
                Others::Names(shape) | Others::LooseNames(shape) if map.known.is_empty() => {
                    shape.fields()
                }
                _ => map.known,
            };
        }
        self.list.as_ref().map_or(&[], |list| list.item.fields())
    }
}
