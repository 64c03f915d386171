//! A node together with the path that leads to it, and the readers of single values.
//!
//! Each reader says what was expected and where when the value is of another kind, and gives
//! nothing, so that the caller goes on and finds the next problem too.

use std::fmt::Display;
use std::time::Duration;

use crate::units;

use super::context::Context;
use super::keys;
use super::scalar::Plain;
use super::tree::{Node, Spot, Value};
use super::{Level, text};

/// How a node is reached from its parent.
#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    /// A whole path, already fit to be shown.
    Path(&'a str),
    Key(&'a str),
    Index(usize),
}

/// A node and its path; the parents stand on the stack.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    key_spot: Spot,
    step: Step<'a>,
    parent: Option<&'a At<'a>>,
}

impl<'a> At<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        Self {
            node,
            key_spot: node.spot,
            step: Step::Root,
            parent: None,
        }
    }

    /// A node whose path is known as a text.
    pub(super) fn named(node: &'a Node, path: &'a str) -> Self {
        Self {
            step: Step::Path(path),
            ..Self::root(node)
        }
    }

    /// `services.web.ports[0]`.
    pub(super) fn path(&self) -> String {
        let mut path = self.parent.map(At::path).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Path(whole) => path.push_str(whole),
            Step::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&text::shown(key));
            }
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
        path
    }

    /// The key this value stands under; empty for items of lists.
    pub(super) fn name(&self) -> &'a str {
        match self.step {
            Step::Key(key) => key,
            Step::Root | Step::Path(_) | Step::Index(_) => "",
        }
    }

    /// The key that the parent stands under.
    pub(super) fn parent_name(&self) -> &'a str {
        self.parent.map(At::name).unwrap_or_default()
    }

    pub(super) fn spot(&self) -> Spot {
        match &self.node.value {
            // A collection starts a line later than the key a reader looks for.
            Value::List(_) | Value::Map(_) => self.key_spot,
            Value::Scalar(scalar) if scalar.text.is_empty() => self.key_spot,
            Value::Scalar(_) => self.node.spot,
        }
    }

    /// Where the key stands.
    pub(super) fn key_spot(&self) -> Spot {
        self.key_spot
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&'a self, key: &str) -> Option<At<'a>> {
        let entry = self.node.as_map()?.iter().find(|e| &*e.key == key)?;
        Some(At {
            node: &entry.value,
            key_spot: entry.spot,
            step: Step::Key(&entry.key),
            parent: Some(self),
        })
    }

    /// The entries of a mapping.
    pub(super) fn map(&'a self, cx: &mut Context<'_>) -> Vec<At<'a>> {
        let Value::Map(entries) = &self.node.value else {
            self.expected(cx, "a mapping");
            return Vec::new();
        };
        entries
            .iter()
            .map(|entry| At {
                node: &entry.value,
                key_spot: entry.spot,
                step: Step::Key(&entry.key),
                parent: Some(self),
            })
            .collect()
    }

    /// The entries of a mapping whose keys are known; others but `x-` are errors.
    pub(super) fn fields(&'a self, cx: &mut Context<'_>, known: &[&str]) -> Vec<At<'a>> {
        let mut fields = self.map(cx);
        fields.retain(|field| {
            let key = field.name();
            if known.contains(&key) {
                return true;
            }
            if !key.starts_with("x-") {
                field.unknown(cx, known);
            }
            false
        });
        fields
    }

    /// Says that no such key is known, and which may be meant.
    pub(super) fn unknown(&self, cx: &mut Context<'_>, known: &[&str]) {
        let subject = self.parent.map(At::path).unwrap_or_default();
        let text = format!("unknown key `{}`", text::shown(self.name()));
        let mut error = cx.invalid(self.key_spot, &subject, text);
        if let Some(near) = keys::nearest(self.name(), known) {
            error = error.hint(format!("did you mean `{near}`?"));
        }
        cx.push(error);
    }

    /// The items of a list.
    pub(super) fn list(&'a self, cx: &mut Context<'_>) -> Vec<At<'a>> {
        if let Value::List(_) = &self.node.value {
            return self.items();
        }
        self.expected(cx, "a list");
        Vec::new()
    }

    /// The items of a list, or the one value that stands for a list of one.
    pub(super) fn one_or_many(&'a self, cx: &mut Context<'_>) -> Vec<At<'a>> {
        match &self.node.value {
            Value::List(_) => self.items(),
            Value::Scalar(_) if !self.node.is_null() => vec![*self],
            _ => {
                self.expected(cx, "a string or a list of strings");
                Vec::new()
            }
        }
    }

    fn items(&'a self) -> Vec<At<'a>> {
        let Value::List(items) = &self.node.value else {
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(index, node)| At {
                node,
                key_spot: node.spot,
                step: Step::Index(index),
                parent: Some(self),
            })
            .collect()
    }

    /// Says that the value is of the wrong kind.
    pub(super) fn expected(&self, cx: &mut Context<'_>, what: &str) {
        let text = format!("must be {what}, not {}", self.node.kind());
        let is_number_for_text = what.starts_with("a string") && self.plain().is_some();
        if is_number_for_text && !self.node.is_null() {
            cx.error_hint(self, text, "put it in quotes");
        } else {
            cx.error(self, text);
        }
    }

    fn plain(&self) -> Option<Plain> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(scalar.meaning()),
            _ => None,
        }
    }

    pub(super) fn raw(&self) -> &'a str {
        match &self.node.value {
            Value::Scalar(scalar) => &scalar.text,
            _ => "",
        }
    }

    /// A string; numbers, booleans and null are refused, as docker compose does.
    pub(super) fn text(&self, cx: &mut Context<'_>) -> Option<String> {
        match self.plain() {
            Some(Plain::Text) => Some(self.raw().to_owned()),
            _ => {
                self.expected(cx, "a string");
                None
            }
        }
    }

    /// A string, number or boolean as text; `Some(None)` is null.
    pub(super) fn loose(&self, cx: &mut Context<'_>) -> Option<Option<String>> {
        match self.plain() {
            Some(plain) => Some(plain.canonical(self.raw())),
            None => {
                self.expected(cx, "a string, number or boolean");
                None
            }
        }
    }

    /// A string or a number as it was written.
    pub(super) fn number_text(&self, cx: &mut Context<'_>) -> Option<String> {
        match self.plain() {
            Some(Plain::Text) => Some(self.raw().to_owned()),
            Some(plain @ (Plain::Int(_) | Plain::Float(_))) => plain.canonical(self.raw()),
            _ => {
                self.expected(cx, "a number or a string");
                None
            }
        }
    }

    pub(super) fn boolean(&self, cx: &mut Context<'_>) -> Option<bool> {
        match self.plain() {
            Some(Plain::Bool(value)) => return Some(value),
            Some(Plain::Text) => {}
            _ => {
                self.expected(cx, "true or false");
                return None;
            }
        }
        let value = match self.raw().to_ascii_lowercase().as_str() {
            "true" => return Some(true),
            "false" => return Some(false),
            "y" | "yes" | "on" => true,
            "n" | "no" | "off" => false,
            _ => {
                self.expected(cx, "true or false");
                return None;
            }
        };
        let text = format!("`{}` is text in YAML 1.2; write {value}", self.raw());
        cx.warn(self, Level::Trap, text);
        Some(value)
    }

    pub(super) fn integer(&self, cx: &mut Context<'_>) -> Option<i64> {
        let number = match self.plain() {
            Some(Plain::Int(number)) => i64::try_from(number).ok(),
            Some(Plain::Text) => self.raw().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.expected(cx, "a whole number");
        }
        number
    }

    /// A whole number that is not negative and fits.
    pub(super) fn count(&self, cx: &mut Context<'_>) -> Option<u32> {
        let number = self.integer(cx)?;
        let count = u32::try_from(number).ok();
        if count.is_none() {
            cx.error(
                self,
                format!("must be from 0 to {}, not {number}", u32::MAX),
            );
        }
        count
    }

    /// Permission bits: numbers as they are, strings in octal.
    pub(super) fn mode(&self, cx: &mut Context<'_>) -> Option<u32> {
        let mode = match self.plain() {
            Some(Plain::Int(number)) => u32::try_from(number).ok(),
            Some(Plain::Text) => {
                let digits = self.raw().trim_start_matches("0o");
                u32::from_str_radix(digits, 8).ok()
            }
            _ => None,
        };
        let Some(mode) = mode.filter(|mode| *mode <= 0o7777) else {
            cx.error_hint(
                self,
                format!("`{}` is not a file mode", text::shown(self.raw())),
                "write it in octal, such as 0440",
            );
            return None;
        };
        Some(mode)
    }

    /// A string that `parse` understands.
    pub(super) fn parsed<T, E: Display>(
        &self,
        cx: &mut Context<'_>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(cx)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                cx.error(self, error.to_string());
                None
            }
        }
    }

    pub(super) fn duration(&self, cx: &mut Context<'_>) -> Option<Duration> {
        if matches!(self.plain(), Some(Plain::Int(_) | Plain::Float(_))) {
            let raw = self.raw();
            let text = format!("must be a string such as \"{raw}s\", not a number");
            cx.error(self, text);
            return None;
        }
        self.parsed(cx, units::parse_duration)
    }

    /// A size in bytes, as a number or with a unit.
    pub(super) fn bytes(&self, cx: &mut Context<'_>) -> Option<units::Bytes> {
        let text = self.number_text(cx)?;
        match units::Bytes::parse(&text) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                cx.error(self, error.to_string());
                None
            }
        }
    }

    /// A list of strings.
    pub(super) fn texts(&self, cx: &mut Context<'_>) -> Vec<String> {
        let items = self.list(cx);
        items.iter().filter_map(|item| item.text(cx)).collect()
    }
}
