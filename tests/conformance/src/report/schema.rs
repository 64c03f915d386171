//! As much of JSON Schema as the report's schema uses; a word that is not known here is a mistake.

use serde_json::{Map, Value};

/// What is wrong with a document, each with its place.
pub(super) fn check(schema: &Value, document: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    Checker { root: schema }.check(schema, document, "$", &mut wrong);
    wrong
}

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, found: &Value, at: &str, wrong: &mut Vec<String>) {
        let words = schema.as_object().expect("a schema is an object");
        for (word, wanted) in words {
            let holds = match word.as_str() {
                "$schema" | "title" | "description" | "definitions" | "properties" => true,
                "const" => found == wanted,
                "enum" => list(wanted).contains(found),
                "type" => is(found, wanted),
                "required" => has(found, list(wanted), at, wrong),
                "additionalProperties" => {
                    self.members(words, found, at, wrong);
                    true
                }
                "items" => {
                    for (number, item) in found.as_array().into_iter().flatten().enumerate() {
                        self.check(wanted, item, &format!("{at}[{number}]"), wrong);
                    }
                    true
                }
                "oneOf" => self.one_of(list(wanted), found, at),
                "$ref" => {
                    let path = wanted.as_str().and_then(|path| path.strip_prefix('#'));
                    let other = self.root.pointer(path.expect("a place in this schema"));
                    self.check(other.expect("it is there"), found, at, wrong);
                    true
                }
                other => panic!("{other} is not known here"),
            };
            if !holds {
                wrong.push(format!("{at}: {found} against {word} {wanted}"));
            }
        }
    }

    fn one_of(&self, choices: &[Value], found: &Value, at: &str) -> bool {
        let fits = choices.iter().filter(|choice| {
            let mut wrong = Vec::new();
            self.check(choice, found, at, &mut wrong);
            wrong.is_empty()
        });
        fits.count() == 1
    }

    fn members(
        &self,
        words: &Map<String, Value>,
        found: &Value,
        at: &str,
        wrong: &mut Vec<String>,
    ) {
        for (name, member) in found.as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            let known = words.get("properties").and_then(|known| known.get(name));
            match known.unwrap_or(&words["additionalProperties"]) {
                Value::Bool(false) => wrong.push(format!("{at} is not in the schema")),
                schema => self.check(schema, member, &at, wrong),
            }
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn is(found: &Value, kind: &Value) -> bool {
    match kind.as_str().expect("a word") {
        "object" => found.is_object(),
        "array" => found.is_array(),
        "string" => found.is_string(),
        "boolean" => found.is_boolean(),
        "integer" => found.is_u64(),
        "null" => found.is_null(),
        other => panic!("{other} is not known here"),
    }
}

fn has(found: &Value, names: &[Value], at: &str, wrong: &mut Vec<String>) -> bool {
    for name in names.iter().filter_map(Value::as_str) {
        if found.get(name).is_none() {
            wrong.push(format!("{at}.{name} is missing"));
        }
    }
    true
}
