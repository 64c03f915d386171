//! Commands beside a replica's process: other processes with its variables and folder.

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use unmoor::backend::{Exec, ExecOptions, ExecOutput, ExecSession};
use unmoor::name::ReplicaId;
use unmoor::{Error, ErrorKind, Result};

use crate::ProcBackend;
use crate::process::{code_of, command};

#[async_trait]
impl Exec for ProcBackend {
    async fn exec(
        &self,
        replica: &ReplicaId,
        options: &ExecOptions,
    ) -> Result<Box<dyn ExecSession>> {
        let refuse = |kind, text: &str| Error::new(kind, format!("exec: {text}")).on(replica);
        if options.tty.is_some() || options.user.is_some() {
            return Err(refuse(
                ErrorKind::Unsupported,
                "no terminals, no other users",
            ));
        }
        let (folder, service) = {
            let world = self.world();
            let process = world.replica(replica)?;
            if !process.is_alive() {
                return Err(refuse(ErrorKind::WrongPhase, "the replica does not run"));
            }
            (process.folder.clone(), process.service.clone())
        };
        let mut env = service.environment();
        env.extend(options.env.clone());
        let mut command = match command(&options.command, &folder, &env) {
            Ok(command) => command,
            Err(code) => {
                return Ok(Box::new(Session {
                    failed: Some(code),
                    ..Session::default()
                }));
            }
        };
        if let Some(inside) = &options.working_dir {
            command.current_dir(folder.join(inside.trim_start_matches('/')));
        }
        if options.stdin {
            command.stdin(std::process::Stdio::piped());
        }
        let failed = |error| refuse(ErrorKind::Internal, "start the process").because(error);
        let mut child = command.spawn().map_err(failed)?;
        Ok(Box::new(Session {
            stdin: child.stdin.take(),
            out: child.stdout.take(),
            err: child.stderr.take(),
            child: Some(child),
            failed: None,
        }))
    }
}

/// A command; dropped, its process is killed.
#[derive(Debug, Default)]
struct Session {
    child: Option<Child>,
    stdin: Option<ChildStdin>,
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    /// The exit code of a command that could not be started.
    failed: Option<i32>,
}

/// Bytes, empty at the end; pending for ever if the stream is closed.
async fn read(stream: &mut Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let Some(stream) = stream else {
        return std::future::pending().await;
    };
    let mut bytes = Vec::with_capacity(64 << 10);
    match stream.read_buf(&mut bytes).await {
        Ok(_) => bytes,
        Err(_) => Vec::new(),
    }
}

#[async_trait]
impl ExecSession for Session {
    async fn next(&mut self) -> Result<Option<ExecOutput>> {
        while self.out.is_some() || self.err.is_some() {
            tokio::select! {
                bytes = read(&mut self.out) => match bytes.is_empty() {
                    true => self.out = None,
                    false => return Ok(Some(ExecOutput::Stdout(bytes))),
                },
                bytes = read(&mut self.err) => match bytes.is_empty() {
                    true => self.err = None,
                    false => return Ok(Some(ExecOutput::Stderr(bytes))),
                },
            }
        }
        if let Some(child) = &mut self.child {
            let status = child.wait().await;
            self.child = None;
            self.failed = Some(status.map_or(255, code_of));
        }
        Ok(self.failed.take().map(ExecOutput::Exited))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let closed = || Error::new(ErrorKind::WrongPhase, "its standard input is closed");
        let stdin = self.stdin.as_mut().ok_or_else(closed)?;
        stdin
            .write(bytes)
            .await
            .map_err(|error| closed().because(error))
    }

    async fn close_stdin(&mut self) -> Result<()> {
        self.stdin = None;
        Ok(())
    }

    async fn resize(&mut self, _columns: u16, _rows: u16) -> Result<()> {
        Err(Error::new(
            ErrorKind::WrongPhase,
            "the command has no terminal",
        ))
    }
}
