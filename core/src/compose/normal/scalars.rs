//! The final form of single values and of lists of texts.

use super::super::Level;
use super::super::context::Context;
use super::super::gotext::sprint;
use super::super::scalar::Plain;
use super::super::text::{shown, words};
use super::super::tree::{Node, Value};
use super::{typed, values};

/// Reads the value at one path, and reports what it cannot be.
pub(super) struct Reader<'p, 'c, 'e> {
    path: &'p str,
    cx: &'c mut Context<'e>,
}

/// True for a number that is zero.
pub(in super::super) fn is_zero(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(scalar) => typed::zero(scalar.meaning()),
        _ => false,
    }
}

/// Every item as a text.
pub(super) fn printed(node: Node) -> Option<Node> {
    let spot = node.spot;
    let Value::List(items) = node.value else {
        return Some(Node::new(spot, Value::List(vec![node])));
    };
    let items = items
        .into_iter()
        .map(|item| Node::text(item.spot, &sprint(&item)))
        .collect();
    Some(Node::new(spot, Value::List(items)))
}

impl<'p, 'c, 'e> Reader<'p, 'c, 'e> {
    pub(super) fn new(path: &'p str, cx: &'c mut Context<'e>) -> Self {
        Self { path, cx }
    }

    fn plain(node: &Node) -> Option<(Plain, &str)> {
        match &node.value {
            Value::Scalar(scalar) => Some((scalar.meaning(), &scalar.text)),
            _ => None,
        }
    }

    /// Says what is wrong, unless that was said of this value already.
    fn wrong(&mut self, node: &Node, text: String) {
        if self.cx.failed.insert(node.spot) {
            self.cx.wrong(node.spot, self.path, text);
        }
    }

    fn expected(&mut self, node: &Node, what: &str) {
        let text = match Self::plain(node) {
            Some((Plain::Text, text)) => format!("must be {what}, not `{}`", shown(text)),
            _ => format!("must be {what}, not {}", node.kind()),
        };
        self.wrong(node, text);
    }

    pub(super) fn text(&mut self, node: &Node) -> Option<Node> {
        match Self::plain(node) {
            Some((Plain::Text | Plain::Date, text)) => Some(node.text_as(text)),
            Some((Plain::Int(number), _)) => Some(node.text_as(&number.to_string())),
            _ => {
                self.expected(node, "a string");
                None
            }
        }
    }

    pub(super) fn flag(&mut self, node: &Node) -> Option<Node> {
        let value = match Self::plain(node) {
            Some((Plain::Bool(value), _)) => return Some(node.clone_as(&value.to_string())),
            Some((Plain::Text, text)) => values::truth(text),
            _ => None,
        };
        let Some((value, is_old)) = value else {
            self.expected(node, "true or false");
            return None;
        };
        if is_old {
            warn_of_old(node, self.path, value, self.cx);
        }
        Some(node.clone_as(&value.to_string()))
    }

    pub(super) fn whole(&mut self, node: &Node) -> Option<Node> {
        let number = match Self::plain(node) {
            Some((Plain::Int(number), _)) => i64::try_from(number).ok(),
            Some((Plain::Float(number), _)) => Some(number as i64),
            Some((Plain::Text, text)) => values::whole(text),
            _ => None,
        };
        let Some(number) = number else {
            self.expected(node, "a whole number");
            return None;
        };
        Some(node.clone_as(&number.to_string()))
    }

    /// A whole number that is not negative, and was not written as a text.
    pub(super) fn count(&mut self, node: &Node) -> Option<Node> {
        let number = match Self::plain(node) {
            Some((Plain::Int(number), _)) => u64::try_from(number).ok(),
            Some((Plain::Float(number), _)) if number >= 0.0 => Some(number as u64),
            _ => None,
        };
        let Some(number) = number else {
            self.expected(node, "a whole number that is not negative");
            return None;
        };
        Some(node.clone_as(&number.to_string()))
    }

    fn number(&mut self, node: &Node) -> Option<f64> {
        let number = match Self::plain(node) {
            Some((Plain::Int(number), _)) => Some(number as f64),
            Some((Plain::Float(number), _)) => Some(number),
            Some((Plain::Text, text)) => values::float(text),
            _ => None,
        };
        if number.is_none() {
            self.expected(node, "a number");
        }
        number
    }

    /// A number of no more digits than docker compose keeps.
    pub(super) fn float(&mut self, node: &Node) -> Option<Node> {
        let number = self.number(node)? as f32;
        Some(node.clone_as(&single(number)))
    }

    pub(super) fn cpus(&mut self, node: &Node) -> Option<Node> {
        self.float(node)
    }

    pub(super) fn bytes(&mut self, node: &Node) -> Option<Node> {
        let size = match Self::plain(node) {
            Some((Plain::Int(number), _)) => {
                i64::try_from(number).map_err(|error| error.to_string())
            }
            Some((Plain::Float(_), raw)) => {
                let text = format!("{} is not a whole number of bytes", shown(raw));
                let at = (node.spot, self.path);
                self.cx
                    .refuse_later(at, text, "docker compose leaves it out in silence");
                Ok(0)
            }
            Some((Plain::Text, text)) => values::bytes(text),
            _ => Err("must be a size".to_owned()),
        };
        match size {
            Ok(size) => Some(node.text_as(&size.to_string())),
            Err(problem) => {
                self.wrong(node, problem);
                None
            }
        }
    }

    pub(super) fn time(&mut self, node: &Node) -> Option<Node> {
        match values::time(&sprint(node)) {
            Ok(nanos) => Some(node.text_as(&typed::time_text(nanos))),
            Err(problem) => {
                self.wrong(node, problem);
                None
            }
        }
    }

    /// Permission bits: numbers as they are, texts in octal.
    pub(super) fn mode(&mut self, node: &Node) -> Option<Node> {
        let (mode, raw) = match Self::plain(node) {
            Some((Plain::Int(number), raw)) => (i64::try_from(number).ok(), raw),
            Some((Plain::Text, text)) => (i64::from_str_radix(text, 8).ok(), "0"),
            _ => (None, "0"),
        };
        let Some(mode) = mode else {
            self.expected(node, "a file mode such as 0440");
            return None;
        };
        if raw.starts_with(|c: char| ('1'..='9').contains(&c)) {
            let text = format!("{raw} is decimal and means mode {mode:04o}");
            self.cx
                .warn_spot(node.spot, self.path.to_owned(), Level::Trap, text);
        }
        Some(node.text_as(&format!("0{mode:o}")))
    }

    pub(super) fn devices(&mut self, node: &Node) -> Option<Node> {
        if node
            .as_text()
            .is_some_and(|text| text.eq_ignore_ascii_case("all"))
        {
            return Some(node.clone_as("-1"));
        }
        match node.as_text().map(values::whole) {
            Some(None) => {
                self.expected(node, "`all` or a number");
                None
            }
            _ => self.whole(node),
        }
    }

    /// A command line: a list of words, or one text that is split.
    pub(super) fn command(&mut self, node: Node) -> Option<Node> {
        let Some(text) = node.as_text() else {
            return self.texts(node);
        };
        match words(text) {
            Ok(split) => {
                if let Some(cut) = split.cut {
                    let text = format!(
                        "everything from `{cut}` on is left out, as docker compose does; \
                         for a shell, write sh -c \"…\""
                    );
                    self.cx
                        .warn_spot(node.spot, self.path.to_owned(), Level::Trap, text);
                }
                let words = split.words.iter();
                let items = words.map(|word| Node::text(node.spot, word)).collect();
                Some(Node::new(node.spot, Value::List(items)))
            }
            Err(problem) => {
                self.wrong(&node, problem.to_owned());
                None
            }
        }
    }

    /// The test of a health check.
    pub(super) fn test(&mut self, node: Node) -> Option<Node> {
        let Some(text) = node.as_text() else {
            return self
                .texts(node)
                .filter(|list| list.as_list().is_some_and(|items| !items.is_empty()));
        };
        let items = ["CMD-SHELL", text].map(|word| Node::text(node.spot, word));
        Some(Node::new(node.spot, Value::List(items.into())))
    }

    pub(super) fn texts(&mut self, node: Node) -> Option<Node> {
        let (spot, tag) = (node.spot, node.tag);
        let items = match node.value {
            Value::List(items) => items,
            _ => vec![node],
        };
        let items = items.iter().filter_map(|item| self.text(item)).collect();
        Some(Node {
            spot,
            tag,
            value: Value::List(items),
        })
    }
}

/// Says that `yes`, `on` and their like are texts.
pub(in super::super) fn warn_of_old(node: &Node, path: &str, value: bool, cx: &mut Context<'_>) {
    let raw = node.as_text().unwrap_or_default();
    let text = format!("`{}` is text in YAML 1.2; write {value}", shown(raw));
    cx.warn_spot(node.spot, path.to_owned(), Level::Trap, text);
}

/// The shortest text of a number of single precision.
pub(in super::super) fn single(number: f32) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return format!("{number:.0}");
    }
    number.to_string()
}

impl Node {
    /// A number or truth value in the place of this one, filled in if this one was.
    fn clone_as(&self, text: &str) -> Self {
        Self {
            tag: self.tag,
            ..Self::plain(self.spot, text)
        }
    }

    /// A text in the place of this value.
    fn text_as(&self, text: &str) -> Self {
        Self {
            tag: self.tag,
            ..Self::text(self.spot, text)
        }
    }
}
