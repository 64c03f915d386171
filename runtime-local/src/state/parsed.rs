//! Rows read from the database, and those parsed before by their text: every replica of a large
//! stack is started with a look at all of its services, most of which have not changed.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use super::db::Failure;
use super::record::{NetworkRecord, ReplicaRecord, ServiceRecord, VolumeRecord};
use super::tables::from_json;

/// Texts that are remembered beyond those of the last whole list.
const SPARE: usize = 64;
/// Most texts that are remembered.
const MOST: usize = 2048;

/// What a row's text means.
pub(super) trait Row: Sized {
    /// Reads one.
    fn read(what: &str, text: &str) -> Result<Self, Failure>;

    /// Tells that there are so many in all.
    fn settle(_count: usize) {}
}

/// Records by their texts. A text means the same whatever database it stands in.
struct Parsed<T>(LazyLock<Mutex<HashMap<Box<str>, T>>>);

impl<T: Clone + DeserializeOwned> Parsed<T> {
    const fn new() -> Self {
        Self(LazyLock::new(Mutex::default))
    }

    fn read(&self, what: &str, text: &str) -> Result<T, Failure> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = known().get(text) {
            return Ok(record.clone());
        }
        let record: T = from_json(what, text)?;
        let mut known = known();
        if known.len() >= MOST {
            *known = HashMap::new();
        }
        known.insert(text.into(), record.clone());
        Ok(record)
    }

    /// Forgets when most of what is remembered cannot be there any more.
    fn settle(&self, count: usize) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > 2 * count + SPARE {
            *known = HashMap::new();
        }
    }
}

static SERVICES: Parsed<ServiceRecord> = Parsed::new();
static REPLICAS: Parsed<ReplicaRecord> = Parsed::new();

impl Row for ServiceRecord {
    fn read(what: &str, text: &str) -> Result<Self, Failure> {
        SERVICES.read(what, text)
    }

    fn settle(count: usize) {
        SERVICES.settle(count);
    }
}

impl Row for ReplicaRecord {
    fn read(what: &str, text: &str) -> Result<Self, Failure> {
        REPLICAS.read(what, text)
    }

    fn settle(count: usize) {
        REPLICAS.settle(count);
    }
}

impl Row for NetworkRecord {
    fn read(what: &str, text: &str) -> Result<Self, Failure> {
        from_json(what, text)
    }
}

impl Row for VolumeRecord {
    fn read(what: &str, text: &str) -> Result<Self, Failure> {
        from_json(what, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_parsed_once_and_forgotten_when_it_is_old() {
        static NUMBERS: Parsed<Vec<u32>> = Parsed::new();
        let known = || NUMBERS.0.lock().expect("no panic").len();
        assert_eq!(NUMBERS.read("numbers", "[1,2]").expect("valid"), [1, 2]);
        assert_eq!(NUMBERS.read("numbers", "[1,2]").expect("valid"), [1, 2]);
        assert_eq!(NUMBERS.read("numbers", "[1,3]").expect("valid"), [1, 3]);
        assert_eq!(known(), 2);
        assert!(NUMBERS.read("numbers", "[1").is_err());
        for number in 0..SPARE {
            NUMBERS
                .read("numbers", &format!("[{number}]"))
                .expect("valid");
        }
        NUMBERS.settle(1);
        assert_eq!(known(), SPARE + 2, "all of them may be there");
        NUMBERS.settle(0);
        assert_eq!(known(), 0);
    }
}
