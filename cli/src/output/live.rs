//! Live progress on a terminal: one line a resource, redrawn in place.

use std::env;
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use crate::output::{Side, Style, clean};

/// What became of a resource so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Working,
    Changed,
    Same,
    Failed,
    Undone,
}

/// One resource.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) subject: String,
    pub(super) word: String,
    pub(super) mark: Mark,
    /// When the present action began, from the beginning of all.
    pub(super) begun: Duration,
    /// How long the last action took, once it is over.
    pub(super) took: Option<Duration>,
}

/// Columns and rows of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Screen {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

impl Screen {
    /// The size of the terminal on that side.
    pub(super) fn of(side: Side) -> Self {
        let stream = match side {
            Side::Err => rustix::stdio::stderr(),
            Side::Out => rustix::stdio::stdout(),
        };
        let size = tcgetwinsize(stream).ok();
        let pick = |value: Option<u16>, default: usize| match value {
            None | Some(0) => default,
            Some(value) => usize::from(value),
        };
        Self {
            columns: pick(size.map(|size| size.ws_col), 80),
            lines: pick(size.map(|size| size.ws_row), 24),
        }
    }
}

/// What is on the screen, and how it looks.
#[derive(Debug)]
pub(super) struct Live {
    side: Side,
    style: Style,
    unicode: bool,
    drawn: usize,
}

impl Live {
    pub(super) fn new(side: Side, style: Style) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
        let unicode = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self {
            side,
            style,
            unicode,
            drawn: 0,
        }
    }

    /// The bytes that bring the screen to these rows; `whole` shows all of them, for the last time.
    pub(super) fn frame(&mut self, rows: &[Row], head: &str, now: Duration, whole: bool) -> String {
        let screen = Screen::of(self.side);
        let room = screen.lines.saturating_sub(2).max(1);
        let shown: Vec<&Row> = if whole {
            rows.iter().collect()
        } else {
            fitting(rows, room)
        };
        let widest = shown.iter().map(|row| row.subject.chars().count()).max();
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\u{1b}[{}A", self.drawn));
        }
        text.push_str(&format!("\u{1b}[2K{}\n", cut(head, screen.columns)));
        for row in &shown {
            let line = self.line(row, widest.unwrap_or(0), now, screen.columns);
            text.push_str(&format!("\u{1b}[2K{line}\n"));
        }
        text.push_str("\u{1b}[J");
        self.drawn = if whole { 0 } else { shown.len() + 1 };
        text
    }

    fn line(&self, row: &Row, widest: usize, now: Duration, columns: usize) -> String {
        let time = row.took.unwrap_or_else(|| now.saturating_sub(row.begun));
        let time = format!("{:.1}s", time.as_secs_f32());
        let subject = clean(&row.subject);
        let word = clean(&row.word);
        let plain = format!(" _ {subject:widest$}  {word:<22} {time:>7}");
        if plain.chars().count() >= columns {
            return cut(
                &format!(" {} {subject} {word}", self.symbol(row.mark, now)),
                columns,
            );
        }
        let symbol = self.symbol(row.mark, now).to_string();
        let (symbol, word) = match row.mark {
            Mark::Working => (self.style.blue(&symbol), format!("{word:<22}")),
            Mark::Changed => (
                self.style.green(&symbol),
                self.style.green(&format!("{word:<22}")),
            ),
            Mark::Same => (
                self.style.dim(&symbol),
                self.style.dim(&format!("{word:<22}")),
            ),
            Mark::Failed => (
                self.style.red(&symbol),
                self.style.red(&format!("{word:<22}")),
            ),
            Mark::Undone => (
                self.style.yellow(&symbol),
                self.style.yellow(&format!("{word:<22}")),
            ),
        };
        format!(
            " {symbol} {subject:widest$}  {word} {}",
            self.style.dim(&format!("{time:>7}"))
        )
    }

    fn symbol(&self, mark: Mark, now: Duration) -> char {
        const DOTS: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
        const BARS: [char; 4] = ['|', '/', '-', '\\'];
        let tick = usize::try_from(now.as_millis() / 100).unwrap_or(0);
        match (mark, self.unicode) {
            (Mark::Working, true) => DOTS[tick % DOTS.len()],
            (Mark::Working, false) => BARS[tick % BARS.len()],
            (Mark::Changed | Mark::Same, true) => '✔',
            (Mark::Changed, false) => '+',
            (Mark::Same, false) => '=',
            (Mark::Failed, true) => '✘',
            (Mark::Failed, false) => 'x',
            (Mark::Undone, true) => '↺',
            (Mark::Undone, false) => '<',
        }
    }
}

/// As many rows as fit: what is under way first, then what ended last.
fn fitting(rows: &[Row], room: usize) -> Vec<&Row> {
    if rows.len() <= room {
        return rows.iter().collect();
    }
    let mut ranked: Vec<(usize, &Row)> = rows.iter().enumerate().collect();
    ranked.sort_by_key(|(at, row)| (row.mark != Mark::Working, usize::MAX - at));
    ranked.truncate(room);
    ranked.sort_by_key(|(at, _)| *at);
    ranked.into_iter().map(|(_, row)| row).collect()
}

/// Cut to what fits without a wrap, because a wrapped line would be counted as one.
fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns.saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(subject: &str, mark: Mark) -> Row {
        Row {
            subject: subject.to_owned(),
            word: "starting".to_owned(),
            mark,
            begun: Duration::ZERO,
            took: None,
        }
    }

    #[test]
    fn a_small_screen_shows_what_is_under_way() {
        let mut rows: Vec<Row> = (0..30)
            .map(|n| row(&n.to_string(), Mark::Changed))
            .collect();
        rows[3].mark = Mark::Working;
        let shown: Vec<&str> = fitting(&rows, 3)
            .iter()
            .map(|r| r.subject.as_str())
            .collect();
        assert_eq!(shown, ["3", "28", "29"]);
    }

    #[test]
    fn a_frame_goes_back_over_the_former_one() {
        let mut live = Live::new(
            Side::Err,
            Style::for_stream(crate::args::Ansi::Never, false),
        );
        let rows = [row("a", Mark::Working)];
        let first = live.frame(&rows, "head", Duration::ZERO, false);
        assert!(!first.contains("\u{1b}[2A"), "{first:?}");
        let second = live.frame(&rows, "head", Duration::ZERO, true);
        assert!(second.starts_with("\u{1b}[2A"), "{second:?}");
    }

    #[test]
    fn any_width_is_survived() {
        let live = Live::new(
            Side::Err,
            Style::for_stream(crate::args::Ansi::Never, false),
        );
        for columns in 0..100 {
            let line = live.line(
                &row("replica shop-web-1", Mark::Failed),
                20,
                Duration::ZERO,
                columns,
            );
            assert!(
                line.chars().count() <= columns.max(1),
                "{columns}: {line:?}"
            );
        }
    }
}
