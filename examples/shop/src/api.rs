//! `api`: counts visits in the store and says which of its replicas did.
//!
//! `POST /visits` answers `{"replica": "…", "visits": N}`.

use std::io;
use std::process::ExitCode;

use shop::client::ask;
use shop::server::{Answer, Request, serve};

const PORT: u16 = 7001;
const STORE_PORT: u16 = 7000;

fn main() -> ExitCode {
    shop::main(|| serve("api", &shop::listen_address(PORT), answer))
}

fn answer(request: &Request) -> io::Result<Answer> {
    if (request.method.as_str(), request.path.as_str()) != ("POST", "/visits") {
        return Ok(Answer::text(404, "want POST /visits\n"));
    }
    let number = ask(&shop::link("store", STORE_PORT), "POST", "/keys/visits", "")?;
    let visits: u64 = number.trim().parse().map_err(io::Error::other)?;
    let replica = shop::replica_name();
    Ok(Answer::json(format!(
        "{{\"replica\": {replica:?}, \"visits\": {visits}}}\n"
    )))
}
