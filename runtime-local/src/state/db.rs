//! The database file: opened once, written in immediate transactions of two durabilities.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use unmoor_core::backend::Commit;
use unmoor_core::name::NameError;

use crate::error::LocalError;

/// The schema this source knows.
const SCHEMA: i64 = 1;
/// Longest wait for another process's transaction; each takes well under a millisecond.
const BUSY: Duration = Duration::from_secs(10);

/// How long a commit lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Survives the death of every process; enough for intents, whose kernel objects do not
    /// survive a power cut either.
    Process,
    /// Survives a power cut; one for each acknowledged command.
    Power,
}

/// The database as one command uses it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session<'a> {
    db: &'a Db,
    commit: Commit,
}

impl Session<'_> {
    /// Reads in one transaction, so that all of it is of one moment.
    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        read: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, LocalError> {
        self.db.read(action, read)
    }

    /// Writes in one transaction; an error of `write` undoes all of it.
    ///
    /// What is to survive a power cut waits for the stack's record, if the command's caller
    /// acknowledges nothing before: that commit takes all earlier ones to the disk.
    pub(crate) fn write<T>(
        &self,
        action: &'static str,
        durability: Durability,
        write: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, LocalError> {
        let durability = match self.commit {
            Commit::Now => durability,
            Commit::WithRecord => Durability::Process,
        };
        self.db.write(action, durability, write)
    }
}

/// The database.
#[derive(Debug)]
pub(crate) struct Db {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    synchronous: Option<Durability>,
}

const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE stacks(name TEXT PRIMARY KEY, revision INTEGER NOT NULL, record BLOB NOT NULL) STRICT;
CREATE TABLE networks(
    stack TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL UNIQUE, value TEXT NOT NULL,
    PRIMARY KEY(stack, name)) STRICT;
CREATE TABLE volumes(
    stack TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY(stack, name)) STRICT;
CREATE TABLE blobs(
    stack TEXT NOT NULL, id TEXT NOT NULL, fingerprint TEXT NOT NULL,
    PRIMARY KEY(stack, id)) STRICT;
CREATE TABLE services(
    stack TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY(stack, name)) STRICT;
CREATE TABLE replicas(
    id TEXT PRIMARY KEY, stack TEXT NOT NULL, service TEXT NOT NULL, slot INTEGER NOT NULL,
    id_base INTEGER NOT NULL UNIQUE, value TEXT NOT NULL,
    UNIQUE(stack, service, slot)) STRICT;
CREATE TABLE addresses(
    network TEXT NOT NULL, address INTEGER NOT NULL, owner TEXT NOT NULL,
    PRIMARY KEY(network, address)) STRICT;
CREATE INDEX addresses_by_owner ON addresses(owner);
CREATE TABLE intents(
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, stack TEXT NOT NULL,
    subject TEXT NOT NULL, owner TEXT NOT NULL) STRICT;
";

impl Db {
    /// Opens the database, or makes it; says whether it was made.
    ///
    /// # Errors
    /// `Newer` for a later schema, of which nothing is touched; `Store` for what is no database.
    pub(crate) fn open(path: &Path) -> Result<(Self, bool), LocalError> {
        make_private(path)?;
        let wrong = |action| {
            move |source| LocalError::Store {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let mut connection = Connection::open(path).map_err(wrong("open the record"))?;
        connection
            .busy_timeout(BUSY)
            .map_err(wrong("set up the record"))?;
        let found = version(&connection).map_err(wrong("read the schema"))?;
        if found > SCHEMA {
            return Err(LocalError::Newer {
                path: path.to_owned(),
                found,
                known: SCHEMA,
            });
        }
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(wrong("set up the journal"))?;
        let made = found < SCHEMA && create(&mut connection).map_err(wrong("make the tables"))?;
        let inner = Mutex::new(Inner {
            connection,
            synchronous: None,
        });
        Ok((
            Self {
                path: path.to_owned(),
                inner,
            },
            made,
        ))
    }

    /// Opens the database for reading, on a file system that takes no writes.
    ///
    /// # Errors
    /// As [`Self::open`]; and if there is none.
    pub(crate) fn open_read_only(path: &Path) -> Result<Self, LocalError> {
        let wrong = |action| {
            move |source| LocalError::Store {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(read_only_uri(path), flags)
            .map_err(wrong("open the record"))?;
        let found = version(&connection).map_err(wrong("read the schema"))?;
        if found > SCHEMA {
            return Err(LocalError::Newer {
                path: path.to_owned(),
                found,
                known: SCHEMA,
            });
        }
        if found < SCHEMA {
            let (what, problem) = (path.display().to_string(), "it has no tables".to_owned());
            return Err(LocalError::Corrupt { what, problem });
        }
        Ok(Self {
            path: path.to_owned(),
            inner: Mutex::new(Inner {
                connection,
                synchronous: None,
            }),
        })
    }

    /// The database for commands that commit so.
    pub(crate) fn session(&self, commit: Commit) -> Session<'_> {
        Session { db: self, commit }
    }

    /// Reads in one transaction, so that all of it is of one moment.
    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        read: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, LocalError> {
        self.transact(action, TransactionBehavior::Deferred, None, read)
    }

    /// Writes in one transaction; an error of `write` undoes all of it.
    pub(crate) fn write<T>(
        &self,
        action: &'static str,
        durability: Durability,
        write: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, LocalError> {
        self.transact(
            action,
            TransactionBehavior::Immediate,
            Some(durability),
            write,
        )
    }

    fn transact<T>(
        &self,
        action: &'static str,
        behaviour: TransactionBehavior,
        durability: Option<Durability>,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, LocalError> {
        let wrong = |source| LocalError::Store {
            action,
            path: self.path.clone(),
            source,
        };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        if durability.is_some() && inner.synchronous != durability {
            let level = if durability == Some(Durability::Power) {
                "FULL"
            } else {
                "NORMAL"
            };
            inner
                .connection
                .pragma_update(None, "synchronous", level)
                .map_err(wrong)?;
            inner.synchronous = durability;
        }
        let transaction = inner
            .connection
            .transaction_with_behavior(behaviour)
            .map_err(wrong)?;
        let value = work(&transaction).map_err(|failure| match failure {
            Failure::Sql(source) => wrong(source),
            Failure::Local(error) => *error,
        })?;
        transaction.commit().map_err(wrong)?;
        Ok(value)
    }
}

/// Why a transaction was given up.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database's answer.
    Sql(rusqlite::Error),
    /// Ours.
    Local(Box<LocalError>),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<NameError> for Failure {
    /// A name that was valid when it was written.
    fn from(error: NameError) -> Self {
        let (what, problem) = ("a recorded name".to_owned(), error.to_string());
        LocalError::Corrupt { what, problem }.into()
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        Self::Local(Box::new(error))
    }
}

/// Makes the file, which SQLite would make readable for everybody.
///
/// A file that is there is not opened: closing it would drop the locks that another connection of
/// this process holds on it.
fn make_private(path: &Path) -> Result<(), LocalError> {
    let made = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(LocalError::io("make", path, source)),
    }
}

/// A database whose journal is there needs the journal's index, which is there, too, then. Without
/// one SQLite would make both; nobody who has this file system changes the file meanwhile.
fn read_only_uri(path: &Path) -> OsString {
    let journal = path.with_extension("db-wal");
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'?' | b'#' | b'%' => uri.extend(format!("%{byte:02x}").bytes()),
            _ => uri.push(*byte),
        }
    }
    if !journal.exists() {
        uri.extend(b"?immutable=1");
    }
    OsString::from_vec(uri)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Makes the tables unless another process just did.
fn create(connection: &mut Connection) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if version(&transaction)? == SCHEMA {
        return Ok(false);
    }
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_schema_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.db");
        let (db, made) = Db::open(&path).expect("made");
        assert!(made);
        drop(db);
        assert!(!Db::open(&path).expect("opened").1);
        let raw = Connection::open(&path).expect("opens");
        raw.pragma_update(None, "user_version", SCHEMA + 1)
            .expect("written");
        drop(raw);
        let before = std::fs::read(&path).expect("read");
        assert!(matches!(
            Db::open(&path),
            Err(LocalError::Newer { found: 2, .. })
        ));
        assert_eq!(std::fs::read(&path).expect("read"), before);
    }

    #[test]
    fn what_is_no_database_is_corrupt() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.db");
        std::fs::write(&path, "x".repeat(4096)).expect("written");
        let error = unmoor_core::Error::from(Db::open(&path).expect_err("no database"));
        assert_eq!(error.kind(), unmoor_core::ErrorKind::Corrupt);
    }

    #[test]
    fn a_failed_transaction_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let (db, _) = Db::open(&dir.path().join("state.db")).expect("made");
        let insert = "INSERT INTO meta VALUES('k', 'v')";
        let result: Result<(), _> = db.write("try", Durability::Process, |c| {
            c.execute(insert, [])?;
            Err(LocalError::Spec("no".into()).into())
        });
        assert!(result.is_err());
        let count: i64 = db
            .read("count", |c| {
                Ok(c.query_row("SELECT count(*) FROM meta", [], |r| r.get(0))?)
            })
            .expect("read");
        assert_eq!(count, 0);
    }

    #[test]
    fn many_processes_worth_of_connections_write_without_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.db");
        Db::open(&path).expect("made");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let (db, _) = Db::open(&path).expect("opened");
                    for _ in 0..25 {
                        db.write("add", Durability::Process, |c| {
                            c.execute("INSERT INTO stacks VALUES(hex(randomblob(8)), 1, x'')", [])?;
                            Ok(())
                        })
                        .expect("written");
                    }
                });
            }
        });
        let (db, _) = Db::open(&path).expect("opened");
        let count: i64 = db
            .read("count", |c| {
                Ok(c.query_row("SELECT count(*) FROM stacks", [], |r| r.get(0))?)
            })
            .expect("read");
        assert_eq!(count, 200);
    }
}
