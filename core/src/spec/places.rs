//! Where in files the fields of a stack stand.

use std::collections::BTreeMap;

use crate::error::Place;

/// Places of fields, by path as `services.web.ports`; empty for a stack from builders.
///
/// They are no part of what is wanted: stacks that differ in them alone are equal, and a stored
/// stack has none.
#[derive(Debug, Clone, Default)]
pub struct Places(BTreeMap<String, Place>);

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Places {}

impl Places {
    /// Notes where a field stands.
    pub fn insert(&mut self, path: impl Into<String>, place: Place) {
        self.0.insert(path.into(), place);
    }

    /// Where a field stands, if it does.
    #[must_use]
    pub fn exactly(&self, path: &str) -> Option<&Place> {
        self.0.get(path)
    }

    /// Every field with where it stands, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.0.iter().map(|(path, place)| (path.as_str(), place))
    }

    /// The fields whose paths begin with `prefix`.
    pub fn under(&self, prefix: String) -> impl Iterator<Item = (&str, &Place)> + use<'_> {
        let from = self.0.range(prefix.clone()..);
        from.take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, place)| (path.as_str(), place))
    }

    /// Where a field stands, or the nearest one around it.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place);
            }
            (path, _) = path.rsplit_once(['.', '['])?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_not_there_stands_where_its_parent_does() {
        let place = |line| Place {
            file: "compose.yaml".to_owned(),
            line,
            column: 1,
        };
        let mut places = Places::default();
        places.insert("services.a.b", place(2));
        places.insert("services.a.b.ports", place(3));
        assert_eq!(places.of("services.a.b.ports"), Some(&place(3)));
        assert_eq!(places.of("services.a.b.deploy.replicas"), Some(&place(2)));
        assert_eq!(places.of("networks.x"), None);
        assert_eq!(places.exactly("services.a.b.deploy"), None);
        assert_eq!(
            places,
            Places::default(),
            "where it stands is not what it is"
        );
    }
}
