//! Log lines of many replicas on one stream each: prefixed, coloured by service, or as JSON.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

use serde_json::json;
use unmoor::backend::{Channel, LogLine};
use unmoor::name::{ReplicaId, ServiceName};

use crate::args::Ansi;
use crate::exit::Failure;
use crate::output::harmless::harmless;
use crate::output::{Out, Style, Ui, clean_json, raw_bytes};
use crate::time::rfc3339;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogStyle {
    /// `web-1  | ` before each line.
    pub(crate) prefix: bool,
    /// When it was written, before each line.
    pub(crate) timestamps: bool,
    /// One JSON object a line instead.
    pub(crate) json: bool,
    /// What replicas wrote to standard error goes to standard output, too, in its order.
    pub(crate) together: bool,
    /// Everything that steers a terminal gets there.
    pub(crate) raw: bool,
}

impl LogStyle {
    /// Names before lines, and each stream to its own.
    pub(crate) fn named() -> Self {
        Self {
            prefix: true,
            timestamps: false,
            json: false,
            together: false,
            raw: false,
        }
    }
}

/// Prints log lines and counts them.
#[derive(Debug)]
pub(crate) struct LogPrinter {
    out: Out,
    look: LogStyle,
    styles: [Style; 2],
    /// Whether standard output and standard error are terminals that get harmless text only.
    careful: [bool; 2],
    width: usize,
    colours: BTreeMap<ServiceName, usize>,
    printed: BTreeMap<ReplicaId, usize>,
}

impl LogPrinter {
    pub(crate) fn new(out: Out, look: LogStyle, ansi: Ansi) -> Self {
        let terminals = [io::stdout().is_terminal(), io::stderr().is_terminal()];
        let err = Style::for_stream(ansi, terminals[1]);
        Self {
            out,
            look,
            styles: [out.style(ansi), err],
            careful: terminals.map(|terminal| terminal && !look.raw),
            width: 0,
            colours: BTreeMap::new(),
            printed: BTreeMap::new(),
        }
    }

    /// Gives services colours in order, whichever of them are going to be shown.
    pub(crate) fn colour(&mut self, services: impl IntoIterator<Item = ServiceName>) {
        for name in services {
            let next = self.colours.len();
            self.colours.entry(name).or_insert(next);
        }
    }

    /// Makes room for the names of these replicas, and gives their services colours in order.
    pub(crate) fn expect<'a>(&mut self, replicas: impl Iterator<Item = &'a ReplicaId>) {
        for id in replicas {
            self.width = self.width.max(short(id).chars().count());
            let next = self.colours.len();
            self.colours.entry(id.service.clone()).or_insert(next);
        }
    }

    /// Prints lines in order, each to its stream.
    pub(crate) fn print(&mut self, lines: &[LogLine]) -> Result<(), Failure> {
        let mut run = Vec::new();
        let mut channel = Channel::Stdout;
        for line in lines {
            self.expect(std::iter::once(&line.replica));
            *self.printed.entry(line.replica.clone()).or_default() += 1;
            let target = match self.look.json || self.look.together {
                true => Channel::Stdout,
                false => line.channel,
            };
            if target != channel {
                self.write(channel, &run)?;
                run.clear();
                channel = target;
            }
            self.format(line, channel, &mut run);
        }
        self.write(channel, &run)
    }

    /// Prints what a stream gave; tells what could not be read, and returns whether there was such.
    pub(crate) fn print_read(
        &mut self,
        batch: Vec<unmoor::Result<LogLine>>,
        ui: Ui,
    ) -> Result<bool, Failure> {
        let mut lines = Vec::with_capacity(batch.len());
        let mut unreadable = false;
        for item in batch {
            match item {
                Ok(line) => lines.push(line),
                Err(error) => {
                    ui.warn(&error.chain());
                    unreadable = true;
                }
            }
        }
        self.print(&lines)?;
        Ok(unreadable)
    }

    /// Prints what of a complete log was not printed yet.
    pub(crate) fn print_rest(&mut self, all: &[LogLine]) -> Result<(), Failure> {
        let mut skip = self.printed.clone();
        let rest: Vec<LogLine> = all
            .iter()
            .filter(|line| match skip.get_mut(&line.replica) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    false
                }
                _ => true,
            })
            .cloned()
            .collect();
        self.print(&rest)
    }

    fn write(&self, channel: Channel, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        match channel {
            Channel::Stdout => self.out.bytes(bytes),
            Channel::Stderr => {
                raw_bytes(bytes);
                Ok(())
            }
        }
    }

    fn format(&self, line: &LogLine, channel: Channel, into: &mut Vec<u8>) {
        if self.look.json {
            let value = json!({
                "time": rfc3339(line.time), "stack": line.replica.stack,
                "service": line.replica.service, "replica": line.replica.to_string(),
                "channel": line.channel, "text": line.text,
            });
            into.extend(clean_json(value.to_string()).as_bytes());
            into.push(b'\n');
            return;
        }
        let stream = usize::from(channel == Channel::Stderr);
        if self.look.prefix {
            let name = format!("{:width$}  | ", short(&line.replica), width = self.width);
            let colour = self
                .colours
                .get(&line.replica.service)
                .copied()
                .unwrap_or(0);
            into.extend(self.styles[stream].nth(colour, &name).as_bytes());
        }
        if self.look.timestamps {
            into.extend(format!("{} ", rfc3339(line.time)).as_bytes());
        }
        if self.careful[stream] {
            into.extend(harmless(&line.text).as_bytes());
        } else if let Some(exact) = &line.exact {
            into.extend(exact);
            if self.look.raw || exact.ends_with(b"\n") {
                return;
            }
        } else {
            into.extend(line.text.as_bytes());
        }
        into.push(b'\n');
    }
}

/// `web-1`: the replica within its stack.
fn short(id: &ReplicaId) -> String {
    format!("{}-{}", id.service, id.slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(service: &str, slot: u32, text: &str) -> LogLine {
        let name = |text: &str| ServiceName::parse(text).expect("a name");
        let stack = unmoor::name::StackName::parse("shop").expect("a name");
        LogLine {
            replica: ReplicaId::new(stack, name(service), slot),
            time: std::time::UNIX_EPOCH,
            channel: Channel::Stdout,
            text: text.to_owned(),
            exact: None,
        }
    }

    fn printed(look: LogStyle, lines: &[LogLine]) -> String {
        let mut printer = LogPrinter::new(Out::new(), look, Ansi::Never);
        printer.expect(lines.iter().map(|line| &line.replica));
        let mut text = Vec::new();
        for line in lines {
            printer.format(line, line.channel, &mut text);
        }
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn prefixes_are_as_wide_as_the_widest() {
        let lines = [
            line("web", 1, "hello"),
            line("database", 12, "\u{1b}[1mraw"),
        ];
        let look = LogStyle::named();
        let wanted = "web-1        | hello\ndatabase-12  | \u{1b}[1mraw\n";
        assert_eq!(printed(look, &lines), wanted);
        let look = LogStyle {
            prefix: false,
            timestamps: true,
            ..LogStyle::named()
        };
        assert_eq!(
            printed(look, &lines[..1]),
            "1970-01-01T00:00:00.000000000Z hello\n"
        );
    }

    #[test]
    fn a_service_has_its_colour_also_when_it_is_shown_alone() {
        let look = LogStyle::named();
        let prefix = |lines: &[LogLine]| {
            let mut printer = LogPrinter::new(Out::new(), look, Ansi::Never);
            printer.styles = [Style::for_stream(Ansi::Always, true); 2];
            printer.colour(["a", "web"].map(|name| ServiceName::parse(name).expect("a name")));
            printer.expect(lines.iter().map(|line| &line.replica));
            let mut text = Vec::new();
            let last = lines.last().expect("a line");
            printer.format(last, Channel::Stdout, &mut text);
            String::from_utf8(text).expect("text")
        };
        let alone = prefix(&[line("web", 1, "x")]);
        assert_eq!(alone, "\u{1b}[33mweb-1  | \u{1b}[0mx\n");
        assert_eq!(prefix(&[line("a", 1, "y"), line("web", 1, "x")]), alone);
    }

    #[test]
    fn a_terminal_gets_harmless_text_unless_all_of_it_is_wanted() {
        let printed = |careful: bool| {
            let mut printer = LogPrinter::new(Out::new(), LogStyle::named(), Ansi::Never);
            printer.careful = [careful; 2];
            let mut text = Vec::new();
            let line = line("web", 1, "\u{1b}[2J\u{1b}[31mx");
            printer.format(&line, Channel::Stdout, &mut text);
            String::from_utf8(text).expect("text")
        };
        assert_eq!(printed(true), "web-1  | \\u{1b}[2J\u{1b}[31mx\u{1b}[0m\n");
        assert_eq!(printed(false), "web-1  | \u{1b}[2J\u{1b}[31mx\n");
    }

    #[test]
    fn what_is_no_text_is_passed_on_as_it_was_written() {
        let mut odd = line("web", 1, "\u{fffd}");
        odd.exact = Some(b"\xff".to_vec());
        let printed = |raw: bool| {
            let look = LogStyle {
                raw,
                prefix: false,
                ..LogStyle::named()
            };
            let mut printer = LogPrinter::new(Out::new(), look, Ansi::Never);
            printer.careful = [false; 2];
            let mut bytes = Vec::new();
            printer.format(&odd, Channel::Stdout, &mut bytes);
            bytes
        };
        assert_eq!(printed(true), b"\xff");
        assert_eq!(printed(false), b"\xff\n", "the next line is one of its own");
    }

    #[test]
    fn json_lines_hold_escapes_as_text() {
        let look = LogStyle {
            json: true,
            ..LogStyle::named()
        };
        let text = printed(look, &[line("web", 1, "\u{1b}[1mx\u{9b}2J")]);
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text}");
        assert!(text.contains(r#""replica":"shop-web-1""#), "{text}");
    }
}
