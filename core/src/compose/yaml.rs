//! YAML text becomes a [`Node`] tree; the one file that knows the YAML parser.
//!
//! Bounded in size, depth, number of nodes and copied text, so that no file can exhaust memory or
//! the stack. Anchors, aliases and merge keys are resolved; duplicate keys are errors.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::scalar::Plain;
use super::tree::{Entry, Node, Scalar, Spot, Style, Tag, Value};

/// Longest accepted file, in bytes.
pub(super) const MAX_TEXT: usize = 4 << 20;
/// Deepest nesting; a Compose file needs about twelve.
const MAX_DEPTH: usize = 64;
/// Most nodes of a file, aliases counted as what they stand for.
const MAX_NODES: usize = 250_000;

/// Most texts with `\'` in double quotes.
const MAX_ODD: usize = 64;

/// Why a text is not a usable YAML document, and where.
#[derive(Debug, PartialEq)]
pub(super) struct YamlError {
    pub(super) spot: Spot,
    pub(super) text: String,
    pub(super) hint: Option<&'static str>,
}

/// Reads the documents of `text`; a text without any gives none.
pub(super) fn parse(file: u32, text: &str) -> Result<Vec<Node>, YamlError> {
    let start = Spot {
        file,
        line: 1,
        column: 1,
    };
    if text.len() > MAX_TEXT {
        let text = format!("the file is larger than {} MiB", MAX_TEXT >> 20);
        return Err(error(start, text));
    }
    let mut text = Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text));
    for _ in 0..MAX_ODD {
        match events(file, &text) {
            Err(Refused::Escape(spot)) => match without_odd_escapes(&text, spot) {
                Some(plain) => text = Cow::Owned(plain),
                None => break,
            },
            Err(Refused::Other(error)) => return Err(error),
            Ok(documents) => return Ok(documents),
        }
    }
    events(file, &text).map_err(|refused| match refused {
        Refused::Other(error) => error,
        Refused::Escape(spot) => error(spot, "an escape of this text is none that YAML has"),
    })
}

/// Why a text was not read.
enum Refused {
    /// In the quoted text that begins here something is escaped that needs none.
    Escape(Spot),
    Other(YamlError),
}

/// The text with `\'` as `'` in the double quotes that begin at `spot`, as docker compose reads it.
fn without_odd_escapes(text: &str, spot: Spot) -> Option<String> {
    let line = text.split_inclusive('\n').nth(spot.line as usize - 1)?;
    let column = line.char_indices().nth(spot.column as usize - 1)?.0;
    let start = line.as_ptr().addr() - text.as_ptr().addr() + column;
    let mut plain = text[..start].to_owned();
    let mut rest = text[start..].char_indices().peekable();
    let mut found = false;
    let (_, quote) = rest.next()?;
    plain.push(quote);
    while let Some((at, char)) = rest.next() {
        match (char, rest.peek()) {
            ('\\', Some((_, '\''))) => found = true,
            ('\\', Some((_, next))) => {
                plain.extend([char, *next]);
                rest.next();
            }
            ('"', _) => {
                plain.push_str(&text[start + at..]);
                return found.then_some(plain);
            }
            _ => plain.push(char),
        }
    }
    None
}

fn events(file: u32, text: &str) -> Result<Vec<Node>, Refused> {
    let mut options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    let mut builder = Builder {
        file,
        frames: Vec::new(),
        anchors: HashMap::new(),
        documents: Vec::new(),
        nodes: 0,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|cause| match cause.kind() {
            granit_parser::ErrorKind::UnknownQuotedScalarEscape => {
                Refused::Escape(spot(file, cause.marker()))
            }
            _ => Refused::Other(syntax_error(file, text, &cause)),
        })?;
        builder.event(event, span).map_err(Refused::Other)?;
    }
    Ok(builder.documents)
}

fn error(spot: Spot, text: impl Into<String>) -> YamlError {
    YamlError {
        spot,
        text: text.into(),
        hint: None,
    }
}

fn syntax_error(file: u32, source: &str, cause: &granit_parser::ScanError) -> YamlError {
    use granit_parser::ErrorKind;
    let mut spot = spot(file, cause.marker());
    let (text, hint) = match cause.kind() {
        ErrorKind::RecursionLimitExceeded => {
            (format!("nested more than {MAX_DEPTH} levels deep"), None)
        }
        ErrorKind::UnknownAnchor => (
            "the alias has no anchor before it in this file".to_owned(),
            Some("anchors hold within one file only"),
        ),
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation => (
            "a tab indents this line".to_owned(),
            Some("YAML is indented with spaces"),
        ),
        ErrorKind::UnclosedQuotedScalar => (UNCLOSED.to_owned(), Some(CLOSE)),
        ErrorKind::InvalidQuotedScalarIndent => {
            // The parser tells of the line that cannot belong to the text; the slip is before it.
            spot = opening_quote(file, source, spot.line).unwrap_or(spot);
            (UNCLOSED.to_owned(), Some(CLOSE))
        }
        ErrorKind::MappingValueNotAllowed => (
            "a `:` with a blank behind it begins a value, and none can stand here".to_owned(),
            Some("put the whole text in quotes if the `:` is part of it"),
        ),
        ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::InvalidTrailingDoubleQuotedScalar => (
            "something stands behind the closing quote".to_owned(),
            Some("look for a quote before it that is not closed, or that is part of the text"),
        ),
        ErrorKind::UnexpectedCharacter { .. } => (cause.info(), Some("put the text in quotes")),
        _ => (cause.info(), None),
    };
    YamlError { spot, text, hint }
}

const UNCLOSED: &str = "this quote is not closed";
const CLOSE: &str =
    "close it; where the text goes on, its lines are indented more than the key they belong to";

/// Where the quoted text begins that goes on at this line: what the parser says is not closed if the
/// text ends before the line.
fn opening_quote(file: u32, source: &str, line: u32) -> Option<Spot> {
    let before: usize = source
        .split_inclusive('\n')
        .take((line as usize).saturating_sub(1))
        .map(str::len)
        .sum();
    let mut events = Parser::new_from_str(source[..before].trim_end());
    let cause = events.find_map(Result::err)?;
    let is_it = matches!(cause.kind(), granit_parser::ErrorKind::UnclosedQuotedScalar);
    is_it.then(|| spot(file, cause.marker()))
}

fn spot(file: u32, marker: &Marker) -> Spot {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Spot {
        file,
        line: number(marker.line()).max(1),
        column: number(marker.col() + 1),
    }
}

/// A collection whose end has not come yet.
struct Frame {
    anchor: usize,
    height: usize,
    node: Node,
    /// The key whose value is awaited, in a mapping.
    key: Option<(Arc<str>, Spot, bool)>,
    /// Lines of the keys so far.
    seen: HashMap<Arc<str>, u32>,
    /// Values of `<<`, each with where that stands, to be merged at the end.
    merges: Vec<(Spot, Node)>,
}

/// What an alias stands for.
struct Anchored {
    node: Node,
    height: usize,
    size: usize,
}

struct Builder {
    file: u32,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    documents: Vec<Node>,
    nodes: usize,
}

type Step = Result<(), YamlError>;

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Step {
        let at = spot(self.file, &span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let (tag, forced) = self.tag(at, tag.as_deref())?;
                let style = match style {
                    ScalarStyle::Plain if !forced => Style::Plain,
                    _ => Style::Quoted,
                };
                let scalar = Scalar {
                    text: Arc::from(&*text),
                    style,
                };
                let node = Node {
                    spot: at,
                    tag,
                    value: Value::Scalar(scalar),
                };
                self.count(at, 1)?;
                self.complete(node, anchor, 0, 1)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let (tag, _) = self.tag(at, tag.as_deref())?;
                self.open(at, tag, Value::List(Vec::new()), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                let (tag, _) = self.tag(at, tag.as_deref())?;
                self.open(at, tag, Value::Map(Vec::new()), anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(at, id),
            _ => Ok(()),
        }
    }

    /// The tag's wish, and whether it makes a plain scalar a string.
    fn tag(&self, at: Spot, tag: Option<&granit_parser::Tag>) -> Result<(Tag, bool), YamlError> {
        let Some(tag) = tag else {
            return Ok((Tag::None, false));
        };
        if let Some(core) = tag.core_suffix() {
            return Ok((Tag::None, core == "str"));
        }
        match tag.original().as_str() {
            // What has a tag that YAML does not know is a text, whatever it looks like.
            "!reset" => Ok((Tag::Reset, true)),
            "!override" => Ok((Tag::Override, true)),
            "!" => Ok((Tag::None, true)),
            other => {
                let shown: String = other
                    .chars()
                    .take(40)
                    .flat_map(char::escape_default)
                    .collect();
                let mut refused = error(at, format!("the tag `{shown}` means nothing here"));
                refused.hint = Some("Compose knows !reset and !override");
                Err(refused)
            }
        }
    }

    fn count(&mut self, at: Spot, nodes: usize) -> Step {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            let text = format!("the file has more than {MAX_NODES} values, aliases included");
            return Err(error(at, text));
        }
        Ok(())
    }

    fn open(&mut self, at: Spot, tag: Tag, value: Value, anchor: usize) -> Step {
        if self.frames.len() >= MAX_DEPTH {
            return Err(error(
                at,
                format!("nested more than {MAX_DEPTH} levels deep"),
            ));
        }
        self.count(at, 1)?;
        self.frames.push(Frame {
            anchor,
            height: 0,
            node: Node {
                spot: at,
                tag,
                value,
            },
            key: None,
            seen: HashMap::new(),
            merges: Vec::new(),
        });
        Ok(())
    }

    fn close(&mut self) -> Step {
        let Some(mut frame) = self.frames.pop() else {
            return Ok(());
        };
        for (at, merged) in std::mem::take(&mut frame.merges) {
            merge_into(&mut frame.node, at, merged)?;
        }
        let size = match frame.anchor {
            0 => 0,
            _ => size(&frame.node),
        };
        self.complete(frame.node, frame.anchor, frame.height + 1, size)
    }

    fn alias(&mut self, at: Spot, id: usize) -> Step {
        let Some(target) = self.anchors.get(&id) else {
            return Err(error(at, "the alias is part of what it stands for"));
        };
        let (height, size) = (target.height, target.size);
        if self.frames.len() + height > MAX_DEPTH {
            return Err(error(
                at,
                format!("nested more than {MAX_DEPTH} levels deep"),
            ));
        }
        self.count(at, size)?;
        let node = self.anchors[&id].node.clone();
        self.complete(node, 0, height, 0)
    }

    /// Puts a finished node where it belongs: into the open collection, or at the root.
    fn complete(&mut self, node: Node, anchor: usize, height: usize, size: usize) -> Step {
        if anchor != 0 {
            let node = node.clone();
            self.count(node.spot, size)?;
            self.anchors.insert(anchor, Anchored { node, height, size });
        }
        let Some(frame) = self.frames.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        frame.height = frame.height.max(height);
        match (&mut frame.node.value, frame.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(_), None) => return frame.start_key(node),
            (Value::Map(_), Some((_, at, true))) => frame.merges.push((at, node)),
            (Value::Map(entries), Some((key, spot, false))) => entries.push(Entry {
                key,
                spot,
                value: node,
            }),
            (Value::Scalar(_), _) => {}
        }
        Ok(())
    }
}

impl Frame {
    /// Takes the node as the key of the value that follows.
    fn start_key(&mut self, node: Node) -> Step {
        let Value::Scalar(scalar) = &node.value else {
            return Err(error(node.spot, format!("a key cannot be {}", node.kind())));
        };
        let is_merge = scalar.style == Style::Plain && &*scalar.text == "<<";
        if !is_merge && scalar.meaning() != Plain::Text {
            let shown: String = scalar.text.chars().take(40).collect();
            let mut refused = error(
                node.spot,
                format!("the key `{shown}` is {}, not a string", node.kind()),
            );
            refused.hint = Some("put it in quotes");
            return Err(refused);
        }
        let key = Arc::clone(&scalar.text);
        match self.seen.entry(Arc::clone(&key)) {
            Slot::Occupied(first) => {
                let shown: String = key.chars().take(60).flat_map(char::escape_debug).collect();
                let line = first.get();
                let text = format!("the key `{shown}` stands at line {line} already");
                return Err(error(node.spot, text));
            }
            Slot::Vacant(slot) => slot.insert(node.spot.line),
        };
        self.key = Some((key, node.spot, is_merge));
        Ok(())
    }
}

/// Adds what a `<<` brings to `node`: the mapping's own keys win, and so does an earlier mapping
/// of a list. Merging is shallow, as YAML defines it.
fn merge_into(node: &mut Node, at: Spot, merged: Node) -> Step {
    let wrong = |spot: Spot, kind: &str| {
        let text = format!("`<<` takes a mapping or a list of mappings, this is {kind}");
        // What stands before it came through an alias, and is right where it stands.
        let is_alias = (spot.line, spot.column) < (at.line, at.column);
        Err(error(if is_alias { at } else { spot }, text))
    };
    let sources = match merged.value {
        Value::Map(_) => vec![merged],
        Value::List(items) => items,
        Value::Scalar(_) => return wrong(merged.spot, merged.kind()),
    };
    let Value::Map(entries) = &mut node.value else {
        return Ok(());
    };
    let mut present: std::collections::HashSet<Arc<str>> =
        entries.iter().map(|e| Arc::clone(&e.key)).collect();
    for source in sources {
        let (spot, kind) = (source.spot, source.kind());
        let Value::Map(more) = source.value else {
            return wrong(spot, kind);
        };
        entries.extend(
            more.into_iter()
                .filter(|entry| present.insert(Arc::clone(&entry.key))),
        );
    }
    Ok(())
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|e| size(&e.value)).sum::<usize>(),
    }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
