//! The file as a tree: raw scalar text with style, tag and place; nothing is interpreted here.

use std::sync::Arc;

use super::scalar::Plain;

/// Where a node stands: file by number, line and column counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Spot {
    pub(super) file: u32,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// What a tag asks for; tags of YAML's own types only change how a scalar is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    None,
    /// `!reset`: what an earlier file says here is dropped, and so is this.
    Reset,
    /// `!override`: what an earlier file says here is replaced, not merged.
    Override,
    /// Stands in no file: docker compose's own rules fill it in.
    Default,
    /// An extension of the format: a key that starts with `x-`.
    Extension,
}

/// How a scalar was written; only plain ones can be anything but text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Quoted,
    /// A variable was put into it, which makes it text whatever it looks like.
    Substituted,
}

/// A scalar as it stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scalar {
    pub(super) text: Arc<str>,
    pub(super) style: Style,
}

impl Scalar {
    /// What the scalar means where the field does not say.
    pub(super) fn meaning(&self) -> Plain {
        match self.style {
            Style::Plain => Plain::of(&self.text),
            Style::Quoted | Style::Substituted => Plain::Text,
        }
    }
}

/// A node with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) spot: Spot,
    pub(super) tag: Tag,
    pub(super) value: Value,
}

/// The three kinds of nodes; aliases and merge keys are resolved before.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping, with its place.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Arc<str>,
    pub(super) spot: Spot,
    pub(super) value: Node,
}

impl Entry {
    /// A key of ours, standing where its value stands.
    pub(super) fn new(key: &str, value: Node) -> Self {
        Self {
            key: key.into(),
            spot: value.spot,
            value,
        }
    }
}

impl Node {
    pub(super) fn new(spot: Spot, value: Value) -> Self {
        Self {
            spot,
            tag: Tag::None,
            value,
        }
    }

    /// A text made by us, standing where the original stood.
    pub(super) fn text(spot: Spot, text: &str) -> Self {
        let scalar = Scalar {
            text: text.into(),
            style: Style::Quoted,
        };
        Self::new(spot, Value::Scalar(scalar))
    }

    /// A number or `true`, made by us or by the field's own rules.
    pub(super) fn plain(spot: Spot, text: &str) -> Self {
        let scalar = Scalar {
            text: text.into(),
            style: Style::Plain,
        };
        Self::new(spot, Value::Scalar(scalar))
    }

    /// A mapping made by us.
    pub(super) fn map(spot: Spot, entries: Vec<Entry>) -> Self {
        Self::new(spot, Value::Map(entries))
    }

    /// The same, marked as filled in.
    pub(super) fn filled(mut self) -> Self {
        self.tag = Tag::Default;
        self
    }

    /// A null, standing where the original stood.
    pub(super) fn null(spot: Spot) -> Self {
        let scalar = Scalar {
            text: "".into(),
            style: Style::Plain,
        };
        Self::new(spot, Value::Scalar(scalar))
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.meaning() == Plain::Null)
    }

    /// The text of a scalar that is a string, or a date, which is taken for one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) if matches!(scalar.meaning(), Plain::Text | Plain::Date) => {
                Some(&scalar.text)
            }
            _ => None,
        }
    }

    pub(super) fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let entries = self.as_map()?;
        entries.iter().find(|e| &*e.key == key).map(|e| &e.value)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let entry = entries.iter_mut().find(|e| &*e.key == key)?;
        Some(&mut entry.value)
    }

    pub(super) fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn as_map_mut(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn as_list_mut(&mut self) -> Option<&mut Vec<Node>> {
        match &mut self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// True for `true`.
    pub(super) fn is_true(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.meaning() == Plain::Bool(true))
    }

    /// Puts a value under a key, in the place of what stands there.
    pub(super) fn set(&mut self, key: &str, value: Node) {
        if let Some(slot) = self.get_mut(key) {
            *slot = value;
        } else if let Value::Map(entries) = &mut self.value {
            entries.push(Entry::new(key, value));
        }
    }

    /// Takes a key out of a mapping.
    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let index = entries.iter().position(|e| &*e.key == key)?;
        Some(entries.remove(index).value)
    }

    /// The kind of value in words, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar(scalar) => match scalar.meaning() {
                Plain::Null => "nothing",
                Plain::Bool(_) => "a boolean",
                Plain::Int(_) | Plain::Float(_) => "a number",
                Plain::Date => "a date",
                Plain::Text => "a string",
            },
        }
    }
}
