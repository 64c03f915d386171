//! JSON of foreign origin: bounded, and without keys that two readers could see differently.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use crate::error::ImageError;

/// Any JSON value whose objects have no key twice.
struct Strict(Value);

/// Reads an object of at most `most` bytes, nested no deeper than serde_json's own bound.
pub(crate) fn object(
    bytes: &[u8],
    what: &str,
    most: u64,
) -> Result<Map<String, Value>, ImageError> {
    match value(bytes, what, most)? {
        Value::Object(map) => Ok(map),
        _ => Err(ImageError::document(what, "it is not a JSON object")),
    }
}

/// Reads a list under the same conditions.
pub(crate) fn list(bytes: &[u8], what: &str, most: u64) -> Result<Vec<Value>, ImageError> {
    match value(bytes, what, most)? {
        Value::Array(list) => Ok(list),
        _ => Err(ImageError::document(what, "it is not a JSON list")),
    }
}

fn value(bytes: &[u8], what: &str, most: u64) -> Result<Value, ImageError> {
    if bytes.len() as u64 > most {
        let problem = format!("it has {} bytes, more than the {most} allowed", bytes.len());
        return Err(ImageError::document(what, problem));
    }
    let read = serde_json::from_slice::<Strict>(bytes);
    read.map(|Strict(value)| value)
        .map_err(|error| ImageError::document(what, format!("it is not JSON: {error}")))
}

/// Gives the object its type.
pub(crate) fn typed<T: DeserializeOwned>(
    map: Map<String, Value>,
    what: &str,
) -> Result<T, ImageError> {
    serde_json::from_value(Value::Object(map))
        .map_err(|error| ImageError::document(what, error.to_string()))
}

/// Some readers ignore the case of keys; a key that only they would know is refused.
pub(crate) fn check_case(
    map: &Map<String, Value>,
    known: &[&str],
    what: &str,
) -> Result<(), ImageError> {
    for key in map.keys() {
        let confusing = |name: &&&str| name.eq_ignore_ascii_case(key) && **name != key;
        if let Some(name) = known.iter().find(confusing) {
            let problem = format!("its key \"{key}\" could be taken for \"{name}\"");
            return Err(ImageError::document(what, problem));
        }
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number is too large"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("key \"{key}\" stands twice")));
            }
            let Strict(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
