//! Two JSON documents side by side.

use serde_json::Value;

/// The paths at which two documents differ, with both values.
pub(crate) fn differences(theirs: &Value, ours: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(theirs, ours, &mut String::new(), &mut found);
    found
}

fn walk(theirs: &Value, ours: &Value, path: &mut String, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(one), Value::Object(other)) => {
            let more = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(more) {
                let length = path.len();
                path.push('.');
                path.push_str(key);
                match (one.get(key), other.get(key)) {
                    (Some(theirs), Some(ours)) => walk(theirs, ours, path, found),
                    (Some(theirs), None) => found.push(format!("{path}: {theirs} is missing")),
                    (None, ours) => {
                        let ours = ours.cloned().unwrap_or_default();
                        found.push(format!("{path}: {ours} is too much"));
                    }
                }
                path.truncate(length);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (theirs, ours)) in one.iter().zip(other).enumerate() {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                walk(theirs, ours, path, found);
                path.truncate(length);
            }
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => {}
        _ if theirs == ours => {}
        _ => found.push(format!("{path}: {theirs} is here {ours}")),
    }
}
