//! What a command is in the middle of, so that another can finish it.

use std::collections::HashSet;

use rusqlite::{Connection, params};
use unmoor_core::name::StackName;

use super::db::Failure;
use super::process::Identity;
use super::tables::{from_json, to_json};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntentKind {
    /// A replica is being made; its row holds what was given to it.
    StartReplica,
    /// A replica is being removed.
    RemoveReplica,
    /// A network is being made or changed.
    EnsureNetwork,
    /// A network is being removed.
    RemoveNetwork,
    /// A volume is being made.
    EnsureVolume,
    /// A volume is being removed.
    RemoveVolume,
    /// A service is being declared.
    EnsureService,
    /// A service is being withdrawn.
    RemoveService,
}

impl IntentKind {
    const ALL: [(Self, &'static str); 8] = [
        (Self::StartReplica, "start replica"),
        (Self::RemoveReplica, "remove replica"),
        (Self::EnsureNetwork, "ensure network"),
        (Self::RemoveNetwork, "remove network"),
        (Self::EnsureVolume, "ensure volume"),
        (Self::RemoveVolume, "remove volume"),
        (Self::EnsureService, "ensure service"),
        (Self::RemoveService, "remove service"),
    ];

    fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, text)| text)
    }
}

/// A recorded intent.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    /// Its number.
    pub(crate) id: i64,
    /// What is being done.
    pub(crate) kind: IntentKind,
    /// In which stack.
    pub(crate) stack: StackName,
    /// To what: the replica's short id, or the name.
    pub(crate) subject: String,
    /// Who is doing it.
    pub(crate) owner: Identity,
}

impl Intent {
    /// Records that this process is about to do something; returns the intent's number.
    pub(crate) fn begin(
        db: &Connection,
        kind: IntentKind,
        stack: &StackName,
        subject: &str,
    ) -> Result<i64, Failure> {
        let owner = to_json(&Identity::own())?;
        db.prepare_cached("INSERT INTO intents(kind, stack, subject, owner) VALUES(?, ?, ?, ?)")?
            .execute(params![kind.as_str(), stack.as_str(), subject, owner])?;
        Ok(db.last_insert_rowid())
    }

    /// Forgets an intent; absent is fine.
    pub(crate) fn end(db: &Connection, id: i64) -> Result<(), Failure> {
        db.prepare_cached("DELETE FROM intents WHERE id = ?")?
            .execute([id])?;
        Ok(())
    }

    /// Takes over an intent whose owner is dead; false if somebody else was faster.
    pub(crate) fn adopt(db: &Connection, intent: &Self) -> Result<bool, Failure> {
        let sql = "UPDATE intents SET owner = ? WHERE id = ? AND owner = ?";
        let (own, former) = (to_json(&Identity::own())?, to_json(&intent.owner)?);
        Ok(db
            .prepare_cached(sql)?
            .execute(params![own, intent.id, former])?
            == 1)
    }

    /// Whether any command is in the middle of something with this subject.
    pub(crate) fn is_about(db: &Connection, subject: &str) -> Result<bool, Failure> {
        let sql = "SELECT EXISTS(SELECT 1 FROM intents WHERE subject = ?)";
        Ok(db
            .prepare_cached(sql)?
            .query_row([subject], |row| row.get(0))?)
    }

    /// Intents whose owners are dead.
    pub(crate) fn orphans(db: &Connection) -> Result<Vec<Self>, Failure> {
        // One process may be in the middle of a hundred things: it is looked at once, and this
        // one not at all.
        let mut alive = HashSet::from([to_json(&Identity::own())?]);
        let mut statement =
            db.prepare_cached("SELECT id, kind, stack, subject, owner FROM intents ORDER BY id")?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (kind, stack, owner): (String, String, String) =
                (row.get(1)?, row.get(2)?, row.get(4)?);
            let Some((kind, _)) = IntentKind::ALL.into_iter().find(|(_, text)| *text == kind)
            else {
                continue;
            };
            let Ok(stack) = StackName::parse(stack) else {
                continue;
            };
            if alive.contains(&owner) {
                continue;
            }
            let process: Identity = from_json("an intent", &owner)?;
            if process.is_alive() {
                alive.insert(owner);
                continue;
            }
            let (id, subject) = (row.get(0)?, row.get(3)?);
            found.push(Self {
                id,
                kind,
                stack,
                subject,
                owner: process,
            });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Db, Durability};

    #[test]
    fn an_intent_is_adopted_once_and_only_from_the_dead() {
        let dir = tempfile::tempdir().expect("a directory");
        let (db, _) = Db::open(&dir.path().join("state.db")).expect("made");
        let stack = StackName::parse("s").expect("a name");
        let write = |work: &dyn Fn(&Connection) -> Result<bool, Failure>| {
            db.write("test", Durability::Process, |c| work(c))
                .expect("written")
        };
        write(&|c| Intent::begin(c, IntentKind::RemoveVolume, &stack, "data").map(|_| true));
        assert!(
            db.read("test", Intent::orphans).expect("read").is_empty(),
            "we are alive"
        );
        let dead = Identity {
            start_time: 1,
            ..Identity::own()
        };
        write(&|c| {
            c.execute("UPDATE intents SET owner = ?", [to_json(&dead)?])?;
            Ok(true)
        });
        let orphans = db.read("test", Intent::orphans).expect("read");
        assert_eq!(orphans.len(), 1);
        assert_eq!(
            (orphans[0].kind, orphans[0].subject.as_str()),
            (IntentKind::RemoveVolume, "data")
        );
        assert!(write(&|c| Intent::adopt(c, &orphans[0])));
        assert!(
            !write(&|c| Intent::adopt(c, &orphans[0])),
            "somebody else was faster"
        );
        write(&|c| Intent::end(c, orphans[0].id).map(|()| true));
        assert!(db.read("test", Intent::orphans).expect("read").is_empty());
    }
}
