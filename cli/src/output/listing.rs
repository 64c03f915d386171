//! Listings: one list of rows, printed as a table, as JSON, or by a template.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::Value;

use crate::exit::Failure;
use crate::output::template::Template;
use crate::output::{Out, Table, clean, clean_json};

/// How a listing is printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ListFormat {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// A line of the user's own for each row.
    Template(Template),
}

impl FromStr for ListFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" | "" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            text if text.contains("{{") => text.parse().map(Self::Template),
            text => Err(format!(
                "`{text}` is no format: use `table`, `json`, or a template as `{{{{.Name}}}}`"
            )),
        }
    }
}

/// A format for a listing, as an argument shared by every verb that lists.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Formatted {
    /// How to print: `table`, `json`, or a template as `{{.Name}}\t{{.Status}}`
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true,
        add = crate::complete::one_of(&["table", "json"])
    )]
    pub(crate) format: ListFormat,
}

/// Columns by the name that templates use, and the heading under which tables show them; those
/// without a heading are for templates only.
pub(crate) type Columns = &'static [(&'static str, &'static str)];

/// Rows of texts, and what they are as JSON.
#[derive(Debug)]
pub(crate) struct Listing {
    columns: Columns,
    rows: Vec<Vec<String>>,
    values: Vec<Value>,
}

impl Listing {
    pub(crate) fn new(columns: Columns) -> Self {
        Self {
            columns,
            rows: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Adds a row: a text for each column, and the whole as JSON.
    pub(crate) fn row(&mut self, cells: Vec<String>, value: Value) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
        self.values.push(value);
    }

    /// The listing as text.
    pub(crate) fn render(&self, format: &ListFormat) -> Result<String, Failure> {
        match format {
            ListFormat::Table => Ok(self.table().to_string()),
            ListFormat::Json => {
                let text = serde_json::to_string_pretty(&self.values);
                text.map(|text| clean_json(text) + "\n")
                    .map_err(|error| Failure::Output(error.into()))
            }
            ListFormat::Template(template) => self.by(template),
        }
    }

    /// Prints the listing.
    pub(crate) fn print(&self, out: Out, format: &ListFormat) -> Result<(), Failure> {
        out.text(&self.render(format)?)
    }

    fn table(&self) -> Table {
        let shown = |cells: Vec<&str>| -> Vec<String> {
            let pairs = cells.into_iter().zip(self.columns);
            let with_heading = pairs.filter(|(_, (_, heading))| !heading.is_empty());
            with_heading.map(|(cell, _)| cell.to_owned()).collect()
        };
        let headings = shown(self.columns.iter().map(|(_, heading)| *heading).collect());
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let mut table = Table::new(&headings);
        for row in &self.rows {
            table.row(shown(row.iter().map(String::as_str).collect()));
        }
        table
    }

    fn by(&self, template: &Template) -> Result<String, Failure> {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        if let Some(unknown) = template.unknown_field(&names) {
            let text = format!(
                "--format: there is no field `{unknown}`; there are {}",
                names.join(", ")
            );
            return Err(Failure::Usage(text));
        }
        let fields = |cells: Vec<&'_ str>| -> BTreeMap<&'static str, String> {
            let names = names.iter().copied();
            names
                .zip(cells.into_iter().map(|cell| clean(cell).into_owned()))
                .collect()
        };
        let rows = self
            .rows
            .iter()
            .map(|row| fields(row.iter().map(String::as_str).collect()));
        if !template.is_table {
            let lines = rows.map(|row| template.fill(&borrowed(&row)) + "\n");
            return Ok(lines.collect());
        }
        // A heading for every field, also for those that the usual table leaves out.
        let headings = self.columns.iter().map(|(name, heading)| match *heading {
            "" => name.to_uppercase(),
            heading => heading.to_owned(),
        });
        let headings: BTreeMap<&'static str, String> =
            names.iter().copied().zip(headings).collect();
        let headings = template.cells(&borrowed(&headings));
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let mut table = Table::new(&headings);
        for row in rows {
            table.row(template.cells(&borrowed(&row)));
        }
        Ok(table.to_string())
    }
}

fn borrowed<'a>(row: &'a BTreeMap<&'static str, String>) -> BTreeMap<&'a str, &'a str> {
    row.iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn listing() -> Listing {
        let mut listing = Listing::new(&[("Name", "NAME"), ("State", "")]);
        listing.row(
            vec!["shop-web-1".to_owned(), "run\u{1b}ning".to_owned()],
            json!({"name": "shop-web-1"}),
        );
        listing
    }

    fn rendered(format: &str) -> Result<String, String> {
        let format: ListFormat = format.parse()?;
        listing()
            .render(&format)
            .map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn one_list_in_every_form() {
        assert_eq!(rendered("table").as_deref(), Ok("NAME\nshop-web-1\n"));
        assert_eq!(
            rendered("{{.Name}} {{.State}}").as_deref(),
            Ok("shop-web-1 run\\u{1b}ning\n")
        );
        assert_eq!(
            rendered(r"table {{.Name}}\t{{.State}}").as_deref(),
            Ok("NAME         STATE\nshop-web-1   run\\u{1b}ning\n")
        );
        assert!(rendered("json").is_ok_and(|text| text.starts_with("[\n")));
    }

    #[test]
    fn unknown_fields_and_formats_are_refused_with_what_there_is() {
        let error = rendered("{{.Nmae}}").expect_err("there is no such field");
        assert!(error.contains("Name, State"), "{error}");
        assert!(rendered("yaml").is_err_and(|error| error.contains("`table`, `json`")));
    }
}
