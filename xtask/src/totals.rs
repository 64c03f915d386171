//! Adding up what different test runners say they did.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed, failed and were skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Totals {
    pub(crate) fn passed(passed: u64) -> Self {
        Self {
            passed,
            ..Self::default()
        }
    }

    pub(crate) fn failed(failed: u64) -> Self {
        Self {
            failed,
            ..Self::default()
        }
    }

    /// Reads a runner's closing line; any other line is none.
    ///
    /// Known are nextest, `cargo test`, and the plain `N passed, N failed, N skipped` with or
    /// without one word and a colon before it. Only nextest indents its own; another runner's
    /// line that is indented belongs to the output of a test that is being shown.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        nextest(line.trim())
            .or_else(|| libtest(line))
            .or_else(|| plain(line))
    }

    /// Counts as skipped what passed without having checked anything.
    pub(crate) fn set_skipped(&mut self, count: u64) {
        let count = count.min(self.passed);
        self.passed -= count;
        self.skipped += count;
    }

    pub(crate) fn ran(self) -> u64 {
        self.passed + self.failed
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// `Summary [ 1.2s] 9 tests run: 7 passed (1 slow, 1 leaky), 1 failed, 1 timed out, 2 skipped`
fn nextest(line: &str) -> Option<Totals> {
    let rest = line.strip_prefix("Summary [")?;
    let (_, counts) = rest.split_once(" run: ")?;
    let mut totals = Totals::default();
    for part in without_parentheses(counts).split(',') {
        let (count, what) = part.trim().split_once(' ')?;
        let count: u64 = count.parse().ok()?;
        match what.trim() {
            "passed" => totals.passed += count,
            "skipped" => totals.skipped += count,
            // "failed", "timed out", "exec failed": each is a test that did not pass.
            _ => totals.failed += count,
        }
    }
    Some(totals)
}

fn without_parentheses(text: &str) -> String {
    let mut depth = 0_u32;
    text.chars()
        .filter(|char| match char {
            '(' => {
                depth += 1;
                false
            }
            ')' => {
                depth = depth.saturating_sub(1);
                false
            }
            _ => depth == 0,
        })
        .collect()
}

/// `test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0s`
fn libtest(line: &str) -> Option<Totals> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut totals = Totals::default();
    for part in counts.split(';') {
        let Some((count, what)) = part.trim().split_once(' ') else {
            continue;
        };
        match what {
            "passed" => totals.passed = count.parse().ok()?,
            "failed" => totals.failed = count.parse().ok()?,
            "ignored" => totals.skipped = count.parse().ok()?,
            _ => {}
        }
    }
    Some(totals)
}

fn plain(line: &str) -> Option<Totals> {
    let counts = match line.split_once(": ") {
        Some((word, counts)) if !word.contains(' ') => counts,
        Some(_) => return None,
        None => line,
    };
    let mut parts = counts.split(", ");
    let mut take = |what: &str| {
        parts
            .next()?
            .strip_suffix(what)?
            .trim_end()
            .parse::<u64>()
            .ok()
    };
    let (passed, failed) = (take("passed")?, take("failed")?);
    let skipped = match parts.next() {
        Some(part) => part.strip_suffix(" skipped")?.parse().ok()?,
        None => 0,
    };
    parts.next().is_none().then_some(Totals {
        passed,
        failed,
        skipped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(passed: u64, failed: u64, skipped: u64) -> Option<Totals> {
        Some(Totals {
            passed,
            failed,
            skipped,
        })
    }

    #[test]
    fn closing_lines_of_all_runners_are_read() {
        let cases = [
            (
                "     Summary [   0.500s] 54 tests run: 54 passed, 0 skipped",
                totals(54, 0, 0),
            ),
            (
                "Summary [ 1.2s] 9 tests run: 7 passed (1 slow, 1 leaky), 1 failed, 1 timed out, 2 skipped",
                totals(7, 2, 2),
            ),
            (
                "Summary [ 1.2s] 5/9 tests run: 4 passed, 1 exec failed, 0 skipped",
                totals(4, 1, 0),
            ),
            (
                "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s",
                totals(3, 1, 2),
            ),
            (
                "unmoor-conformance: 41 passed, 0 failed, 3 skipped",
                totals(41, 0, 3),
            ),
            ("12 passed, 1 failed", totals(12, 1, 0)),
        ];
        for (line, expected) in cases {
            assert_eq!(Totals::parse(line), expected, "{line}");
        }
    }

    #[test]
    fn other_lines_are_none() {
        let shown = "    test result: FAILED. 0 passed; 1 failed; 0 ignored; finished in 0.08s";
        for line in [
            shown,
            "",
            "ok",
            "test a ... ok",
            "the suite: 1 passed, 1 failed",
            "1 passed, 2 apples",
        ] {
            assert_eq!(Totals::parse(line), None, "{line}");
        }
    }

    #[test]
    fn skipped_tests_are_taken_from_the_passed_ones() {
        let mut totals = Totals::passed(10);
        totals.set_skipped(3);
        assert_eq!(totals.to_string(), "7 passed, 0 failed, 3 skipped");
    }
}
