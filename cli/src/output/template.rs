//! `--format TEMPLATE`: the part of docker's templates that people use, and a clear no to the rest.
//!
//! ```text
//! {{.Field}}            the field's text
//! {{json .}}            all fields as a JSON object; {{json .Field}} one of them
//! {{upper .Field}}      also lower; {{len .Field}} counts its characters
//! table {{.A}}\t{{.B}}  a table with headings; \t and \n are what they say
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;

use serde_json::json;

/// What stands between text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Plain,
    Json,
    Upper,
    Lower,
    Length,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A function of a field; without a field, of all of them.
    Field(Function, Option<String>),
}

/// A template that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
    /// It makes columns under headings.
    pub(crate) is_table: bool,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, is_table) = match text.strip_prefix("table ") {
            Some(rest) => (rest.trim_start(), true),
            None => (text, false),
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            push_text(&mut parts, before);
            let (action, after) = after.split_once("}}").ok_or("a `{{` has no `}}`")?;
            parts.push(action_of(action)?);
            rest = after;
        }
        push_text(&mut parts, rest);
        Ok(Self { parts, is_table })
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        parts.push(Part::Text(text));
    }
}

fn action_of(action: &str) -> Result<Part, String> {
    let unknown = || {
        format!(
            "`{{{{{action}}}}}` is not known here; there are {{{{.Field}}}}, {{{{json .}}}}, \
             {{{{json .Field}}}}, {{{{upper .Field}}}}, {{{{lower .Field}}}}, {{{{len .Field}}}}"
        )
    };
    let words: Vec<&str> = action.split_ascii_whitespace().collect();
    let (function, operand) = match words.as_slice() {
        [operand] => (Function::Plain, *operand),
        ["json", operand] => (Function::Json, *operand),
        ["upper", operand] => (Function::Upper, *operand),
        ["lower", operand] => (Function::Lower, *operand),
        ["len", operand] => (Function::Length, *operand),
        _ => return Err(unknown()),
    };
    let name = operand.strip_prefix('.').ok_or_else(unknown)?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match (name, function) {
        ("", Function::Json) => Ok(Part::Field(function, None)),
        ("", _) => Err(unknown()),
        (name, _) if is_name => Ok(Part::Field(function, Some(name.to_owned()))),
        _ => Err(unknown()),
    }
}

impl Template {
    /// The first field that the template wants and that is not among these.
    pub(crate) fn unknown_field(&self, fields: &[&str]) -> Option<&str> {
        let names = self.parts.iter().filter_map(|part| match part {
            Part::Field(_, Some(name)) => Some(name.as_str()),
            _ => None,
        });
        names.into_iter().find(|name| !fields.contains(name))
    }

    /// The template filled in for one row.
    pub(crate) fn fill(&self, row: &BTreeMap<&str, &str>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            let (function, field) = match part {
                Part::Text(plain) => {
                    text.push_str(plain);
                    continue;
                }
                Part::Field(function, field) => (*function, field),
            };
            let Some(field) = field else {
                let _ = write!(text, "{}", json!(row));
                continue;
            };
            let value = row.get(field.as_str()).copied().unwrap_or_default();
            let _ = match function {
                Function::Plain => write!(text, "{value}"),
                Function::Json => write!(text, "{}", json!(value)),
                Function::Upper => write!(text, "{}", value.to_uppercase()),
                Function::Lower => write!(text, "{}", value.to_lowercase()),
                Function::Length => write!(text, "{}", value.chars().count()),
            };
        }
        text
    }

    /// The cells of a row of a table: what stands between tabs.
    pub(crate) fn cells(&self, row: &BTreeMap<&str, &str>) -> Vec<String> {
        self.fill(row).split('\t').map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> String {
        let row = BTreeMap::from([("Name", "shop-web-1"), ("Status", "Up \"2\"")]);
        let template: Template = template.parse().expect("a template");
        template.fill(&row)
    }

    #[test]
    fn fields_and_functions() {
        assert_eq!(filled("{{.Name}}: {{ .Status }}"), "shop-web-1: Up \"2\"");
        assert_eq!(
            filled(r"{{.Name}}\t{{upper .Name}}\n"),
            "shop-web-1\tSHOP-WEB-1\n"
        );
        assert_eq!(filled("{{json .Status}}"), r#""Up \"2\"""#);
        assert_eq!(
            filled("{{json .}}"),
            r#"{"Name":"shop-web-1","Status":"Up \"2\""}"#
        );
        assert_eq!(filled("{{len .Name}} {{lower .Name}}"), "10 shop-web-1");
        assert_eq!(filled("no field"), "no field");
    }

    #[test]
    fn what_is_not_known_is_said() {
        for bad in [
            "{{range .}}",
            "{{.Name",
            "{{Name}}",
            "{{.}}",
            "{{.Na me}}",
            "{{printf .Name}}",
        ] {
            assert!(bad.parse::<Template>().is_err(), "{bad}");
        }
        let template: Template = "table {{.Name}}\t{{.Nmae}}".parse().expect("a template");
        assert!(template.is_table);
        assert_eq!(template.unknown_field(&["Name"]), Some("Nmae"));
    }
}
