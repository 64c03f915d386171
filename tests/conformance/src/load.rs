//! The load generator: visitors who come all the time, inside through links and from outside
//! through published ports, and what each of them met.

use std::sync::Mutex;
use std::time::Duration;

use unmoor_core::name::ReplicaId;
use unmoor_core::spec::Protocol;

use crate::case::{Failure, Verdict, ensure, ensure_eq};
use crate::fixture::Fixture;

/// Port on which a server inside tells of its load; every server of the suite listens there.
const DOOR: u16 = 7070;

/// Time between two connections from outside.
const REST: Duration = Duration::from_millis(10);

/// What visitors have met so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count {
    /// Connections that were answered.
    pub(crate) ok: u64,
    /// Connections that were not.
    pub(crate) failed: u64,
    /// Those of the failed that nobody took.
    pub(crate) unmade: u64,
    /// Why the last ones failed.
    why: String,
}

impl Count {
    fn read(text: &str) -> Option<Self> {
        let (counts, why) = text.trim_end_matches('\n').split_once(" last ")?;
        let words: Vec<&str> = counts.split_whitespace().collect();
        let ["ok", ok, "failed", failed, "unmade", unmade, "from", ..] = words[..] else {
            return None;
        };
        Some(Self {
            ok: ok.parse().ok()?,
            failed: failed.parse().ok()?,
            unmade: unmade.parse().ok()?,
            why: why.to_owned(),
        })
    }

    /// That nobody was turned away since `before`.
    pub(crate) fn no_more_failed(&self, before: &Self) -> Verdict {
        let (of, why) = (self.ok - before.ok, &self.why);
        ensure_eq!(
            self.failed,
            before.failed,
            "failed connections, of {of} good ones more ({why})"
        );
        Ok(())
    }

    /// That since `before` only connections were lost that somebody had taken, at most so many.
    pub(crate) fn only_cut(&self, before: &Self, most: u64) -> Verdict {
        let (of, why) = (self.ok - before.ok, &self.why);
        ensure_eq!(
            self.unmade,
            before.unmade,
            "connections that nobody took, of {of} good ones more ({why})"
        );
        let cut = self.failed - before.failed;
        ensure!(
            cut <= most,
            "{cut} connections were cut, where {most} can have been in hand ({why})"
        );
        Ok(())
    }
}

/// Asks a load generator inside for its count.
pub(crate) async fn count(t: &Fixture, load: &ReplicaId) -> Result<Count, Failure> {
    let text = t.ok(load, &format!("count {DOOR}")).await?;
    Count::read(&text).ok_or_else(|| Failure::Failed(format!("not a count: {text}")))
}

/// Waits until the load has made its first connections; what failed before does not count.
pub(crate) async fn begin(t: &Fixture, load: &ReplicaId) -> Result<Count, Failure> {
    t.reach(load, &format!("count {DOOR}")).await?;
    let start = count(t, load).await?.ok;
    enough(t, load, start + 10).await
}

/// Waits until the load has made so many good connections.
pub(crate) async fn enough(t: &Fixture, load: &ReplicaId, wanted: u64) -> Result<Count, Failure> {
    t.until("the load goes on", || async {
        let now = count(t, load).await?;
        Ok((now.ok >= wanted).then_some(now))
    })
    .await
}

/// Waits until the load has made so many good connections more.
pub(crate) async fn more(t: &Fixture, load: &ReplicaId, wanted: u64) -> Result<Count, Failure> {
    let now = count(t, load).await?;
    enough(t, load, now.ok + wanted).await
}

/// Visitors from outside, at a service's published port.
#[derive(Debug)]
pub(crate) struct Outside<'a> {
    t: &'a Fixture,
    stack: &'a unmoor_core::name::StackName,
    service: &'a str,
    count: Mutex<Count>,
}

impl<'a> Outside<'a> {
    pub(crate) fn new(
        t: &'a Fixture,
        stack: &'a unmoor_core::name::StackName,
        service: &'a str,
    ) -> Self {
        let count = Mutex::default();
        Self {
            t,
            stack,
            service,
            count,
        }
    }

    /// What they have met.
    pub(crate) fn count(&self) -> Count {
        self.count.lock().expect("no panic").clone()
    }

    /// Has a visitor come again and again while something is done, and ten times more after it.
    ///
    /// # Errors
    /// What is done gives.
    pub(crate) async fn during<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let door = self.t.door(self.stack, self.service, Protocol::Tcp).await?;
        let come = async {
            loop {
                let met = self.t.ask_kind(&door, "hello").await;
                self.note(met);
                self.t.pass(REST).await;
            }
        };
        let work = async {
            let done = work.await?;
            let before = self.count();
            let what = "visitors come on";
            let after = || async { Ok((self.count().ok >= before.ok + 10).then_some(())) };
            self.t.until(what, after).await?;
            Ok(done)
        };
        tokio::select! {
            biased;
            done = work => done,
            () = come => unreachable!("visitors come for ever"),
        }
    }

    fn note(&self, met: std::io::Result<String>) {
        let mut count = self.count.lock().expect("no panic");
        let Err(error) = met else {
            count.ok += 1;
            return;
        };
        count.failed += 1;
        // Whatever is told of a connection that was made is told by its end.
        let ended = matches!(
            error.kind(),
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
        );
        count.unmade += u64::from(!ended);
        count.why = error.to_string();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_judged() {
        let text = "ok 7 failed 3 unmade 1 from a,b last refused after 2 ms; cut after 1 ms\n";
        let count = Count::read(text).expect("a count");
        assert_eq!((count.ok, count.failed, count.unmade), (7, 3, 1));
        assert!(Count::read("ok 7 failed 3 from a").is_none());
        let text = "ok 7 failed 0 unmade 0 from a last \n";
        assert_eq!(Count::read(text).expect("nothing failed").why, "");
        let before = Count {
            ok: 5,
            failed: 1,
            unmade: 1,
            ..Count::default()
        };
        assert!(count.no_more_failed(&before).is_err());
        assert!(count.only_cut(&before, 2).is_ok());
        assert!(count.only_cut(&before, 1).is_err());
        assert!(count.only_cut(&Count::default(), 3).is_err());
        assert!(count.no_more_failed(&count.clone()).is_ok());
    }
}
