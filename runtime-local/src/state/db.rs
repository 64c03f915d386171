//! The database file: opened once, written in immediate transactions of two durabilities.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use unmoor_core::backend::Commit;
use unmoor_core::name::NameError;

use super::intent::Intent;
use crate::error::LocalError;

/// The schema this source knows.
const SCHEMA: i64 = 1;
/// Longest wait for another process's transaction; each takes well under a millisecond.
const BUSY: Duration = Duration::from_secs(10);
/// Statements that stay prepared: more than there are.
const PREPARED: usize = 64;

/// What is done when somebody else is at work on the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Waits.
    Waits,
    /// Gives up with `InTheWay`, and has changed nothing.
    GivesUp,
}

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
    patience: Patience,
}

impl Session<'_> {
    /// Reads in one transaction, so that all of it is of one moment.
    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        read: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, LocalError> {
        let deferred = TransactionBehavior::Deferred;
        let way = (deferred, None, self.patience);
        self.db.transact(action, way, read)
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
        let immediate = TransactionBehavior::Immediate;
        let way = (immediate, Some(durability), self.patience);
        self.db.transact(action, way, write)
    }

    /// Forgets an intent whose work is done.
    ///
    /// If the stack's record follows, its commit does that too: until then a later command would
    /// only do again what is done, should this process die.
    pub(crate) fn end(&self, action: &'static str, intent: i64) -> Result<(), LocalError> {
        match self.commit {
            Commit::Now => self.write(action, Durability::Power, |c| Intent::end(c, intent)),
            Commit::WithRecord => {
                self.db.connection(Patience::Waits)?.done.push(intent);
                Ok(())
            }
        }
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
    patience: Patience,
    /// Intents whose work is done; the next commit forgets them.
    done: Vec<i64>,
}

impl Inner {
    fn new(connection: Connection) -> Self {
        connection.set_prepared_statement_cache_capacity(PREPARED);
        Self {
            connection,
            synchronous: None,
            patience: Patience::Waits,
            done: Vec::new(),
        }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        // Nothing may have been written after the last of them. What stays is done again.
        let any = self
            .connection(Patience::Waits)
            .is_ok_and(|inner| !inner.done.is_empty());
        if any {
            let _ = self.write("forget what is done", Durability::Process, |_| Ok(()));
        }
    }
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
        let inner = Mutex::new(Inner::new(connection));
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
            inner: Mutex::new(Inner::new(connection)),
        })
    }

    /// The database for commands that commit so.
    pub(crate) fn session(&self, commit: Commit, patience: Patience) -> Session<'_> {
        Session {
            db: self,
            commit,
            patience,
        }
    }

    /// Reads in one transaction, so that all of it is of one moment.
    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        read: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, LocalError> {
        let deferred = TransactionBehavior::Deferred;
        self.transact(action, (deferred, None, Patience::Waits), read)
    }

    /// Writes in one transaction; an error of `write` undoes all of it.
    pub(crate) fn write<T>(
        &self,
        action: &'static str,
        durability: Durability,
        write: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, LocalError> {
        let immediate = TransactionBehavior::Immediate;
        let way = (immediate, Some(durability), Patience::Waits);
        self.transact(action, way, write)
    }

    /// The connection, if nobody else is at work or there is time to wait.
    fn connection(&self, patience: Patience) -> Result<MutexGuard<'_, Inner>, LocalError> {
        match (patience, self.inner.try_lock()) {
            (_, Ok(inner)) => Ok(inner),
            (_, Err(TryLockError::Poisoned(inner))) => Ok(inner.into_inner()),
            (Patience::GivesUp, Err(TryLockError::WouldBlock)) => Err(LocalError::InTheWay),
            (Patience::Waits, Err(TryLockError::WouldBlock)) => {
                Ok(self.inner.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }

    fn transact<T>(
        &self,
        action: &'static str,
        (behaviour, durability, patience): (TransactionBehavior, Option<Durability>, Patience),
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, LocalError> {
        let wrong = |source: rusqlite::Error| match (patience, source.sqlite_error_code()) {
            (Patience::GivesUp, Some(ErrorCode::DatabaseBusy)) => LocalError::InTheWay,
            _ => LocalError::Store {
                action,
                path: self.path.clone(),
                source,
            },
        };
        let mut inner = self.connection(patience)?;
        let inner = &mut *inner;
        if inner.patience != patience {
            let busy = match patience {
                Patience::Waits => BUSY,
                Patience::GivesUp => Duration::ZERO,
            };
            inner.connection.busy_timeout(busy).map_err(wrong)?;
            inner.patience = patience;
        }
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
        let failed = |failure| match failure {
            Failure::Sql(source) => wrong(source),
            Failure::Local(error) => *error,
        };
        let value = work(&transaction).map_err(failed)?;
        if durability.is_some() {
            for intent in &inner.done {
                Intent::end(&transaction, *intent).map_err(failed)?;
            }
        }
        transaction.commit().map_err(wrong)?;
        if durability.is_some() {
            inner.done.clear();
        }
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
    fn who_has_no_patience_changes_nothing_while_another_writes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.db");
        let (db, _) = Db::open(&path).expect("made");
        let other = Connection::open(&path).expect("opens");
        let insert = |c: &Connection| Ok(c.execute("INSERT INTO meta VALUES('k', 'v')", [])?);
        let hasty = db.session(Commit::WithRecord, Patience::GivesUp);
        let try_write = || hasty.write("try", Durability::Process, insert);
        other.execute_batch("BEGIN IMMEDIATE").expect("begun");
        assert!(matches!(try_write(), Err(LocalError::InTheWay)));
        other.execute_batch("ROLLBACK").expect("ended");
        let busy = db.connection(Patience::Waits).expect("free");
        assert!(matches!(try_write(), Err(LocalError::InTheWay)));
        drop(busy);
        assert_eq!(try_write().expect("nobody is in the way"), 1);
        let patient = db.session(Commit::WithRecord, Patience::Waits);
        other.execute_batch("BEGIN IMMEDIATE").expect("begun");
        std::thread::scope(|scope| {
            let write = |c: &Connection| Ok(c.execute("DELETE FROM meta", [])?);
            let waits = scope.spawn(move || patient.write("wait", Durability::Process, write));
            other.execute_batch("COMMIT").expect("ended");
            assert_eq!(waits.join().expect("no panic").expect("waited"), 1);
        });
    }

    #[test]
    fn what_is_done_is_forgotten_by_the_next_commit_or_at_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.db");
        let stack = unmoor_core::name::StackName::parse("s").expect("a name");
        let intents = |db: &Db| -> i64 {
            let count =
                |c: &Connection| Ok(c.query_row("SELECT count(*) FROM intents", [], |r| r.get(0))?);
            db.read("count", count).expect("read")
        };
        let begin_and_end = |db: &Db| {
            let session = db.session(Commit::WithRecord, Patience::Waits);
            let kind = crate::state::IntentKind::EnsureService;
            let begin = |c: &Connection| Intent::begin(c, kind, &stack, "a");
            let begun = session.write("begin", Durability::Process, begin);
            session.end("end", begun.expect("written")).expect("noted");
        };
        let (db, _) = Db::open(&path).expect("made");
        begin_and_end(&db);
        assert_eq!(intents(&db), 1);
        let failed: Result<(), _> = db.write("fail", Durability::Process, |_| {
            Err(LocalError::Spec("no".into()).into())
        });
        assert!(failed.is_err());
        assert_eq!(intents(&db), 1, "a commit that failed forgets nothing");
        begin_and_end(&db);
        assert_eq!(intents(&db), 1, "the second one's beginning was a commit");
        drop(db);
        let (db, _) = Db::open(&path).expect("opened");
        assert_eq!(intents(&db), 0);
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
