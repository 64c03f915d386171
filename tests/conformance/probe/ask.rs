//! `discover`: asks where services answer, as the variables say that a program can.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::command::Reply;

const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for everything, or for one name, with the token of the environment or another one.
pub(crate) fn discover(rest: &[String]) -> Reply {
    let (token, rest) = match rest {
        [flag, token, rest @ ..] if flag == "--token" => (Some(token.clone()), rest),
        _ => (std::env::var("UNMOOR_DISCOVERY_TOKEN").ok(), rest),
    };
    let (Some(token), Ok(url)) = (token, std::env::var("UNMOOR_DISCOVERY_URL")) else {
        return Reply::fail(1, "there is nobody to ask");
    };
    let Some((authority, path)) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
    else {
        return Reply::fail(64, format!("{url} is no URL"));
    };
    let name = rest.first().map(|name| format!("/{name}"));
    let target = format!("/{path}/endpoints{}", name.unwrap_or_default());
    match exchange(authority, &target, &token) {
        Ok((200, body)) => Reply::out(body),
        Ok((404, body)) => Reply::fail(2, body),
        Ok((401, body)) => Reply::fail(4, body),
        Ok((status, body)) => Reply::fail(1, format!("{status}: {body}")),
        Err(error) => Reply::fail(3, format!("ask {url}: {error}")),
    }
}

fn exchange(authority: &str, target: &str, token: &str) -> std::io::Result<(u16, String)> {
    let mut stream = match authority.rsplit_once(':') {
        Some(_) => TcpStream::connect(authority)?,
        None => TcpStream::connect((authority, 80))?,
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let broken = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok((status.ok_or_else(broken)?, body.to_owned()))
}
