//! Tables: columns as wide as their widest cell, nothing cut off.

use std::fmt;

use crate::output::clean;

const GAP: usize = 3;

/// A table for people. Cells are made safe to show.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells = cells.into_iter();
        self.rows.push(
            cells
                .map(|cell| clean(cell.as_ref()).into_owned())
                .collect(),
        );
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                let pad = width + GAP - cell.chars().count();
                line.extend(std::iter::repeat_n(' ', pad));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row(["shop-web-1", "Up"]);
        table.row(["ü", ""]);
        table.row(["a\u{1b}[2Jb", "x"]);
        let wanted = "NAME          STATUS\nshop-web-1    Up\nü\na\\u{1b}[2Jb   x\n";
        assert_eq!(table.to_string(), wanted);
    }
}
