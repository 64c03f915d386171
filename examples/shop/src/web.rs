//! `web`: the page that a visitor sees, with what `api` says on it.

use std::io;
use std::process::ExitCode;

use shop::client::ask;
use shop::server::{Answer, Request, serve};

const PORT: u16 = 8080;
const API_PORT: u16 = 7001;

fn main() -> ExitCode {
    shop::main(|| serve("web", &shop::listen_address(PORT), answer))
}

fn answer(request: &Request) -> io::Result<Answer> {
    if request.path != "/" {
        return Ok(Answer::text(404, "there is only one page: /\n"));
    }
    let told = ask(&shop::link("api", API_PORT), "POST", "/visits", "")?;
    let replica = field(&told, "replica").unwrap_or_default();
    let visits = field(&told, "visits").unwrap_or_default();
    let web = shop::replica_name();
    Ok(Answer::html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<title>The shop</title>\n<body>\n\
         <h1>The shop</h1>\n\
         <p>You are visitor number {visits}.</p>\n\
         <p>This page came from web replica {web}, which asked api replica {replica}.</p>\n\
         <p>The number is kept by store, on a volume.</p>\n\
         </body>\n</html>\n"
    )))
}

/// A field of the flat object that `api` answers with.
fn field(json: &str, name: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
    let value = rest.split([',', '}']).next()?;
    Some(value.trim().trim_matches('"').to_owned())
}
