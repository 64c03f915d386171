//! The tables: each function is one statement within the caller's transaction.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::db::Failure;
use super::parsed::Row;
use crate::error::LocalError;

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| {
        LocalError::Corrupt {
            what: "a record".to_owned(),
            problem: error.to_string(),
        }
        .into()
    })
}

pub(super) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        LocalError::Corrupt {
            what: what.to_owned(),
            problem: error.to_string(),
        }
        .into()
    })
}

/// Every row of a statement that gives JSON in its first column.
fn all<T: Row>(
    db: &Connection,
    what: &str,
    sql: &str,
    args: impl rusqlite::Params,
) -> Result<Vec<T>, Failure> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(args)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        found.push(T::read(what, text)?);
    }
    Ok(found)
}

/// The only row of such a statement.
fn one<T: Row>(
    db: &Connection,
    what: &str,
    sql: &str,
    args: impl rusqlite::Params,
) -> Result<Option<T>, Failure> {
    let mut statement = db.prepare_cached(sql)?;
    let text: Option<String> = statement.query_row(args, |row| row.get(0)).optional()?;
    text.map(|text| T::read(what, &text)).transpose()
}

fn count(db: &Connection, sql: &str, args: impl rusqlite::Params) -> Result<usize, Failure> {
    let mut statement = db.prepare_cached(sql)?;
    let count: i64 = statement.query_row(args, |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn run(db: &Connection, sql: &str, args: impl rusqlite::Params) -> Result<usize, Failure> {
    Ok(db.prepare_cached(sql)?.execute(args)?)
}

/// Single values.
pub(crate) mod meta {
    use super::{Connection, Failure, OptionalExtension, params, run};

    /// A value, if it is set.
    pub(crate) fn load(db: &Connection, key: &str) -> Result<Option<String>, Failure> {
        let mut statement = db.prepare_cached("SELECT value FROM meta WHERE key = ?")?;
        Ok(statement.query_row([key], |row| row.get(0)).optional()?)
    }

    /// Sets a value.
    pub(crate) fn store(db: &Connection, key: &str, value: &str) -> Result<(), Failure> {
        run(
            db,
            "INSERT OR REPLACE INTO meta VALUES(?, ?)",
            params![key, value],
        )
        .map(drop)
    }

    /// Forgets a value; absent is fine.
    pub(crate) fn remove(db: &Connection, key: &str) -> Result<(), Failure> {
        run(db, "DELETE FROM meta WHERE key = ?", [key]).map(drop)
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $module:ident, $record:ty, $name:ty, $table:literal) => {
        $(#[$doc])*
        pub(crate) mod $module {
            use rusqlite::{Connection, params};
            use unmoor_core::name::StackName;

            use super::{Failure, Row, all, one, run};

            /// One, if it is there.
            pub(crate) fn load(
                db: &Connection,
                stack: &StackName,
                name: &$name,
            ) -> Result<Option<$record>, Failure> {
                let sql =
                    concat!("SELECT value FROM ", $table, " WHERE stack = ? AND name = ?");
                one(db, $table, sql, params![stack.as_str(), name.as_str()])
            }

            /// All of a stack, or all.
            pub(crate) fn list(
                db: &Connection,
                stack: Option<&StackName>,
            ) -> Result<Vec<$record>, Failure> {
                let sql = concat!(
                    "SELECT value FROM ", $table,
                    " WHERE ?1 IS NULL OR stack = ?1 ORDER BY stack, name"
                );
                let found = all(db, $table, sql, [stack.map(StackName::as_str)])?;
                if stack.is_none() {
                    <$record as Row>::settle(found.len());
                }
                Ok(found)
            }

            /// Removes one; absent is fine.
            pub(crate) fn remove(
                db: &Connection,
                stack: &StackName,
                name: &$name,
            ) -> Result<(), Failure> {
                let sql = concat!("DELETE FROM ", $table, " WHERE stack = ? AND name = ?");
                run(db, sql, params![stack.as_str(), name.as_str()]).map(drop)
            }
        }
    };
}

named!(
    /// Networks.
    network_rows, crate::state::NetworkRecord, unmoor_core::name::NetworkName, "networks"
);
named!(
    /// Volumes.
    volume_rows, crate::state::VolumeRecord, unmoor_core::name::VolumeName, "volumes"
);
named!(
    /// Services.
    service_rows, crate::state::ServiceRecord, unmoor_core::name::ServiceName, "services"
);

/// Networks.
pub(crate) mod networks {
    pub(crate) use super::network_rows::{list, load, remove};
    use super::{Connection, Failure, params, run, to_json};
    use crate::state::NetworkRecord;

    /// Adds or replaces one.
    pub(crate) fn store(db: &Connection, record: &NetworkRecord) -> Result<(), Failure> {
        let (stack, name, value) = (
            record.stack.as_str(),
            record.name.as_str(),
            to_json(record)?,
        );
        let sql = "INSERT OR REPLACE INTO networks VALUES(?, ?, ?, ?)";
        run(db, sql, params![stack, name, record.id, value]).map(drop)
    }
}

/// Volumes.
pub(crate) mod volumes {
    pub(crate) use super::volume_rows::{list, load, remove};
    use super::{Connection, Failure, params, run, to_json};
    use crate::state::VolumeRecord;

    /// Adds or replaces one.
    pub(crate) fn store(db: &Connection, record: &VolumeRecord) -> Result<(), Failure> {
        let (stack, name, value) = (
            record.stack.as_str(),
            record.name.as_str(),
            to_json(record)?,
        );
        let sql = "INSERT OR REPLACE INTO volumes VALUES(?, ?, ?)";
        run(db, sql, params![stack, name, value]).map(drop)
    }
}

/// Declared services.
pub(crate) mod services {
    use unmoor_core::name::StackName;

    pub(crate) use super::service_rows::{list, load, remove};
    use super::{Connection, Failure, all, params, run, to_json};
    use crate::state::ServiceRecord;

    /// All that are not of this stack.
    pub(crate) fn of_others(
        db: &Connection,
        stack: &StackName,
    ) -> Result<Vec<ServiceRecord>, Failure> {
        let sql = "SELECT value FROM services WHERE stack <> ? ORDER BY stack, name";
        all(db, "services", sql, [stack.as_str()])
    }

    /// Adds or replaces one.
    pub(crate) fn store(db: &Connection, record: &ServiceRecord) -> Result<(), Failure> {
        let (stack, name) = (record.stack.as_str(), record.desired.name.as_str());
        let sql = "INSERT OR REPLACE INTO services VALUES(?, ?, ?)";
        run(db, sql, params![stack, name, to_json(record)?]).map(drop)
    }
}

/// Fingerprints of secrets and configs.
pub(crate) mod blobs {
    use unmoor_core::name::StackName;
    use unmoor_core::spec::BlobId;

    use super::{Connection, Failure, OptionalExtension, params, run};

    /// One, if it is there.
    pub(crate) fn load(
        db: &Connection,
        stack: &StackName,
        id: &BlobId,
    ) -> Result<Option<String>, Failure> {
        let sql = "SELECT fingerprint FROM blobs WHERE stack = ? AND id = ?";
        let args = params![stack.as_str(), id.to_string()];
        Ok(db
            .prepare_cached(sql)?
            .query_row(args, |row| row.get(0))
            .optional()?)
    }

    /// All of a stack, or all.
    pub(crate) fn list(
        db: &Connection,
        stack: Option<&StackName>,
    ) -> Result<Vec<(StackName, BlobId, String)>, Failure> {
        let sql = "SELECT stack, id, fingerprint FROM blobs WHERE ?1 IS NULL OR stack = ?1";
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query([stack.map(StackName::as_str)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (stack, id): (String, String) = (row.get(0)?, row.get(1)?);
            if let (Ok(stack), Ok(id)) = (StackName::parse(stack), BlobId::try_from(id)) {
                found.push((stack, id, row.get(2)?));
            }
        }
        Ok(found)
    }

    /// Adds or replaces one.
    pub(crate) fn store(
        db: &Connection,
        stack: &StackName,
        id: &BlobId,
        fingerprint: &str,
    ) -> Result<(), Failure> {
        let sql = "INSERT OR REPLACE INTO blobs VALUES(?, ?, ?)";
        run(
            db,
            sql,
            params![stack.as_str(), id.to_string(), fingerprint],
        )
        .map(drop)
    }

    /// Removes one; absent is fine.
    pub(crate) fn remove(db: &Connection, stack: &StackName, id: &BlobId) -> Result<(), Failure> {
        let sql = "DELETE FROM blobs WHERE stack = ? AND id = ?";
        run(db, sql, params![stack.as_str(), id.to_string()]).map(drop)
    }
}

/// Replicas.
pub(crate) mod replicas {
    use std::collections::HashSet;

    use unmoor_core::name::{ReplicaId, ServiceName, StackName};

    use super::{Connection, Failure, Row, all, count, one, params, run, to_json};
    use crate::sandbox::idmap::{SIZE, Taken};
    use crate::state::ReplicaRecord;

    /// One, if it is there.
    pub(crate) fn load(db: &Connection, id: &ReplicaId) -> Result<Option<ReplicaRecord>, Failure> {
        let sql = "SELECT value FROM replicas WHERE stack = ? AND service = ? AND slot = ?";
        one(
            db,
            "replicas",
            sql,
            params![id.stack.as_str(), id.service.as_str(), id.slot],
        )
    }

    /// One by its key.
    pub(crate) fn by_key(db: &Connection, key: &str) -> Result<Option<ReplicaRecord>, Failure> {
        one(
            db,
            "replicas",
            "SELECT value FROM replicas WHERE id = ?",
            [key],
        )
    }

    /// All of a stack, or all.
    pub(crate) fn list(
        db: &Connection,
        stack: Option<&StackName>,
    ) -> Result<Vec<ReplicaRecord>, Failure> {
        let sql = "SELECT value FROM replicas WHERE ?1 IS NULL OR stack = ?1 \
                   ORDER BY stack, service, slot";
        let found = all(db, "replicas", sql, [stack.map(StackName::as_str)])?;
        if stack.is_none() {
            ReplicaRecord::settle(found.len());
        }
        Ok(found)
    }

    /// All of a service.
    pub(crate) fn of_service(
        db: &Connection,
        stack: &StackName,
        service: &ServiceName,
    ) -> Result<Vec<ReplicaRecord>, Failure> {
        let sql = "SELECT value FROM replicas WHERE stack = ? AND service = ? ORDER BY slot";
        all(
            db,
            "replicas",
            sql,
            params![stack.as_str(), service.as_str()],
        )
    }

    /// The keys of all.
    pub(crate) fn keys(db: &Connection) -> Result<HashSet<String>, Failure> {
        let mut statement = db.prepare_cached("SELECT id FROM replicas")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How many there are of a stack, or of all.
    pub(crate) fn count_of(db: &Connection, stack: Option<&StackName>) -> Result<usize, Failure> {
        let sql = "SELECT count(*) FROM replicas WHERE ?1 IS NULL OR stack = ?1";
        count(db, sql, [stack.map(StackName::as_str)])
    }

    /// Adds or replaces one.
    pub(crate) fn store(db: &Connection, record: &ReplicaRecord) -> Result<(), Failure> {
        let (id, value) = (&record.id, to_json(record)?);
        let sql = "INSERT OR REPLACE INTO replicas VALUES(?, ?, ?, ?, ?, ?)";
        let (stack, service) = (id.stack.as_str(), id.service.as_str());
        run(
            db,
            sql,
            params![record.key, stack, service, id.slot, record.id_base, value],
        )
        .map(drop)
    }

    /// Removes one; absent is fine.
    pub(crate) fn remove(db: &Connection, key: &str) -> Result<(), Failure> {
        run(db, "DELETE FROM replicas WHERE id = ?", [key]).map(drop)
    }

    /// The host ids that replicas have.
    pub(crate) fn id_ranges(db: &Connection) -> Result<Taken, Failure> {
        let mut statement = db.prepare_cached("SELECT id_base FROM replicas")?;
        let rows = statement.query_map([], |row| row.get::<_, u32>(0))?;
        let range = |base: u32| (u64::from(base), u64::from(base) + u64::from(SIZE));
        Ok(rows.map(|base| base.map(range)).collect::<Result<_, _>>()?)
    }
}

/// Who holds which address.
pub(crate) mod addresses {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use super::{Connection, Failure, meta, params, run};

    /// The addresses in use on a network.
    fn taken(db: &Connection, network: &str) -> Result<BTreeSet<Ipv4Addr>, Failure> {
        let mut statement = db.prepare_cached("SELECT address FROM addresses WHERE network = ?")?;
        let rows = statement.query_map([network], |row| row.get::<_, u32>(0))?;
        Ok(rows
            .map(|bits| bits.map(Ipv4Addr::from_bits))
            .collect::<Result<_, _>>()?)
    }

    /// True if somebody has this address.
    pub(crate) fn is_taken(
        db: &Connection,
        network: &str,
        address: Ipv4Addr,
    ) -> Result<bool, Failure> {
        let sql = "SELECT EXISTS(SELECT 1 FROM addresses WHERE network = ? AND address = ?)";
        let args = params![network, address.to_bits()];
        Ok(db.prepare_cached(sql)?.query_row(args, |row| row.get(0))?)
    }

    /// Gives an address to `owner`.
    pub(crate) fn give(
        db: &Connection,
        network: &str,
        address: Ipv4Addr,
        owner: &str,
    ) -> Result<(), Failure> {
        let sql = "INSERT INTO addresses VALUES(?, ?, ?)";
        run(db, sql, params![network, address.to_bits(), owner]).map(drop)
    }

    /// Takes back the addresses of `owner` on one network.
    pub(crate) fn take_back_on(db: &Connection, network: &str, owner: &str) -> Result<(), Failure> {
        let sql = "DELETE FROM addresses WHERE network = ? AND owner = ?";
        run(db, sql, params![network, owner]).map(drop)
    }

    /// Takes back every address of `owner`.
    pub(crate) fn take_back(db: &Connection, owner: &str) -> Result<(), Failure> {
        run(db, "DELETE FROM addresses WHERE owner = ?", [owner]).map(drop)
    }

    /// Takes back every address of a network, and forgets which was given out last.
    pub(crate) fn forget_network(db: &Connection, network: &str) -> Result<(), Failure> {
        run(db, "DELETE FROM addresses WHERE network = ?", [network])?;
        for kind in [Kind::Replica, Kind::Stable] {
            meta::remove(db, &last_key(network, kind))?;
        }
        Ok(())
    }

    /// What an address is for.
    #[derive(Debug, Clone, Copy)]
    pub(crate) enum Kind {
        /// A replica.
        Replica,
        /// A service or a link.
        Stable,
    }

    fn last_key(network: &str, kind: Kind) -> String {
        format!("last {kind:?} {network}")
    }

    /// Gives `owner` the next address that `pick` finds among those that are free, given what is
    /// taken and what was given out last.
    pub(crate) fn give_next(
        db: &Connection,
        network: &str,
        kind: Kind,
        owner: &str,
        pick: impl FnOnce(&BTreeSet<Ipv4Addr>, Option<Ipv4Addr>) -> Option<Ipv4Addr>,
    ) -> Result<Option<Ipv4Addr>, Failure> {
        let key = last_key(network, kind);
        let last = meta::load(db, &key)?.and_then(|text| text.parse().ok());
        let Some(address) = pick(&taken(db, network)?, last) else {
            return Ok(None);
        };
        give(db, network, address, owner)?;
        meta::store(db, &key, &address.to_string())?;
        Ok(Some(address))
    }
}

/// Records that clients keep about whole stacks.
#[derive(Debug)]
pub(crate) struct Stacks;

impl Stacks {
    /// A stack's record with its revision.
    pub(crate) fn load(db: &Connection, stack: &str) -> Result<Option<(Vec<u8>, i64)>, Failure> {
        let mut statement =
            db.prepare_cached("SELECT record, revision FROM stacks WHERE name = ?")?;
        Ok(statement
            .query_row([stack], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?)
    }

    /// Writes a record; revisions grow over all stacks, so that one that was removed and made
    /// again is not mistaken for the former.
    pub(crate) fn store(db: &Connection, stack: &str, record: &[u8]) -> Result<i64, Failure> {
        let last: i64 = meta::load(db, "revision")?
            .and_then(|t| t.parse().ok())
            .unwrap_or(0);
        let next = last + 1;
        meta::store(db, "revision", &next.to_string())?;
        run(
            db,
            "INSERT OR REPLACE INTO stacks VALUES(?, ?, ?)",
            params![stack, next, record],
        )?;
        Ok(next)
    }

    /// Removes a record; absent is fine.
    pub(crate) fn remove(db: &Connection, stack: &str) -> Result<(), Failure> {
        run(db, "DELETE FROM stacks WHERE name = ?", [stack]).map(drop)
    }

    /// Names of stacks with a record.
    pub(crate) fn names(db: &Connection) -> Result<Vec<String>, Failure> {
        let mut statement = db.prepare_cached("SELECT name FROM stacks ORDER BY name")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
