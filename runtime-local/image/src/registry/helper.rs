//! Credential helpers: foreign programs, asked with bounds on time, output and name.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::RegistryError;
use super::credentials::{Login, Secret};

/// How long a helper may take; some ask a person.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
const MOST_OUTPUT: u64 = 64 << 10;
/// What helpers print when they simply have nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-<name>` for the credentials of a server.
///
/// The program is looked for in `search`, a list of directories as in `PATH`, if there is one.
pub(super) async fn ask(
    name: &str,
    server: &str,
    search: Option<&OsStr>,
    patience: Duration,
) -> Result<Option<Login>, RegistryError> {
    let place = format!("credential helper {}", crate::error::shown(name.as_bytes()));
    let failed = |problem: &str| RegistryError::Credentials {
        place: place.clone(),
        problem: problem.to_owned(),
    };
    if !is_name(name) {
        return Err(failed("its name is not that of a program"));
    }
    let mut command = Command::new(format!("docker-credential-{name}"));
    if let Some(search) = search {
        command.env("PATH", search);
    }
    let mut child = command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // What it prints there may hold the secret.
        .stderr(Stdio::null())
        // Its own group, so that whatever it starts ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&error.to_string()))?;
    let group = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let talked = timeout(patience, talk(&mut child, server)).await;
    if !matches!(talked, Ok(Ok((_, Some(_)))))
        && let Some(group) = group
    {
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait().await;
    }
    let (output, success) = match talked {
        Err(_) => return Err(failed("it takes too long")),
        Ok(Err(error)) => return Err(failed(&error.to_string())),
        Ok(Ok((_, None))) => return Err(failed("it prints too much")),
        Ok(Ok((output, Some(success)))) => (output, success),
    };
    if !success {
        let nothing = String::from_utf8_lossy(&output).trim() == NOT_FOUND;
        return if nothing {
            Ok(None)
        } else {
            Err(failed("it failed"))
        };
    }
    let answer: Answer =
        serde_json::from_slice(&output).map_err(|_| failed("its answer is not understood"))?;
    let secret = Secret::new(answer.secret);
    Ok(Some(match answer.username.as_str() {
        "<token>" => Login::Identity(secret),
        user => Login::Password {
            user: user.to_owned(),
            password: secret,
        },
    }))
}

/// What it prints, and whether it succeeded; no verdict if it prints too much.
async fn talk(child: &mut Child, server: &str) -> std::io::Result<(Vec<u8>, Option<bool>)> {
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input may still answer.
        let _ = input.write_all(server.as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout
            .take(MOST_OUTPUT + 1)
            .read_to_end(&mut output)
            .await?;
    }
    if output.len() as u64 > MOST_OUTPUT {
        return Ok((Vec::new(), None));
    }
    Ok((output, Some(child.wait().await?.success())))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
