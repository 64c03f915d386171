//! What the three programs of the example share: a small HTTP server, a client, and `probe`.

pub mod client;
pub mod server;

use std::process::ExitCode;

/// Where another service is: what the link says, else its name and usual port.
///
/// A link with the alias `store` sets `UNMOOR_LINK_STORE_HOST` and `UNMOOR_LINK_STORE_PORT`.
#[must_use]
pub fn link(alias: &str, port: u16) -> String {
    let upper = alias.to_ascii_uppercase();
    let told = |what: &str| std::env::var(format!("UNMOOR_LINK_{upper}_{what}")).ok();
    let host = told("HOST").unwrap_or_else(|| alias.to_owned());
    format!(
        "{host}:{}",
        told("PORT").unwrap_or_else(|| port.to_string())
    )
}

/// The address to listen on: every address, at `PORT` or the service's usual port.
#[must_use]
pub fn listen_address(port: u16) -> String {
    let port = std::env::var("PORT").unwrap_or_else(|_| port.to_string());
    format!("0.0.0.0:{port}")
}

/// The name of the machine that this replica believes to be.
#[must_use]
pub fn replica_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() {
        "unknown".to_owned()
    } else {
        name.trim().to_owned()
    }
}

/// Runs a program of the example: `probe URL` asks once, anything else serves.
pub fn main(serve: impl FnOnce() -> std::io::Result<()>) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => serve(),
        ["probe", url] => client::probe(url),
        _ => Err(std::io::Error::other("usage: app [probe URL]")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
