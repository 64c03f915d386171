//! Commands inside replicas.

use std::sync::Arc;

use async_trait::async_trait;
use unmoor_core::backend::{Exec, ExecOptions, ExecOutput, ExecSession, Phase};
use unmoor_core::name::ReplicaId;
use unmoor_core::{Error, ErrorKind, Result};

use crate::bug::Bug;
use crate::fault::Call;
use crate::model::Model;
use crate::probe::Start;
use crate::sim::Sim;
use crate::world::World;

#[async_trait]
impl Exec for Sim {
    async fn exec(
        &self,
        replica: &ReplicaId,
        options: &ExecOptions,
    ) -> Result<Box<dyn ExecSession>> {
        let label = format!("exec in {replica}");
        let clock = self.world.clock.as_ref();
        let hit = self.world.faults.before(clock, Call::Exec, &label).await?;
        let pid = self.world.with(|model| begin(model, replica, options))?;
        let session = Session {
            world: Arc::clone(&self.world),
            pid,
            tty: options.tty.is_some(),
            ended: false,
        };
        hit.after(&label).await?;
        Ok(Box::new(session))
    }
}

fn begin(model: &mut Model, replica: &ReplicaId, options: &ExecOptions) -> Result<u64> {
    model.need_ours("exec in", replica)?;
    let Some(found) = model.replica(replica) else {
        let text = format!("exec in {replica}: there is no such replica");
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    if !matches!(found.phase, Phase::Running | Phase::Stopping) {
        let text = format!("exec in {replica}: it is {}", found.phase.as_str());
        return Err(Error::new(ErrorKind::WrongPhase, text));
    }
    Ok(model.spawn(Start {
        replica: replica.clone(),
        main: false,
        argv: options.command.clone(),
        env: options.env.clone(),
        cwd: options.working_dir.clone(),
        user: options.user.clone(),
        tty: options.tty.is_some(),
        stdin: options.stdin,
    }))
}

#[derive(Debug)]
struct Session {
    world: Arc<World>,
    pid: u64,
    tty: bool,
    ended: bool,
}

#[async_trait]
impl ExecSession for Session {
    async fn next(&mut self) -> Result<Option<ExecOutput>> {
        if self.ended {
            return Ok(None);
        }
        let pid = self.pid;
        let output = self
            .world
            .until(|model| {
                let lost = model.bugs.has(Bug::ExecCodeLost);
                // A process that was forgotten with its replica was killed.
                let Some(process) = model.processes.get_mut(&pid) else {
                    return Some(ExecOutput::Exited(137));
                };
                match process.output.pop_front() {
                    Some(ExecOutput::Exited(_)) if lost => Some(ExecOutput::Exited(0)),
                    output => output,
                }
            })
            .await;
        self.ended = matches!(output, ExecOutput::Exited(_));
        Ok(Some(output))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.world.with(|model| model.feed(self.pid, bytes)) {
            return Ok(bytes.len());
        }
        Err(Error::new(
            ErrorKind::WrongPhase,
            "write to a command: its input is closed",
        ))
    }

    async fn close_stdin(&mut self) -> Result<()> {
        self.world.with(|model| model.close_stdin(self.pid));
        Ok(())
    }

    async fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        if self.tty && columns > 0 && rows > 0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::WrongPhase,
            "resize a terminal: the command has none",
        ))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.world.with(|model| model.processes.remove(&self.pid));
    }
}
