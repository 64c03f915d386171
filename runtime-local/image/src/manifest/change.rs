//! Changes to a configuration, written as lines of a Containerfile.

use super::config::{ImageConfig, exposed};

/// Carries out one line, for example `CMD ["/app"]` or `ENV A=b`.
pub(crate) fn apply(config: &mut ImageConfig, line: &str) -> Result<(), String> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    if line.contains('\0') {
        return Err("a change has a NUL byte".to_owned());
    }
    let needs = |what: &str| {
        if rest.is_empty() {
            Err(format!("change \"{word}\" needs {what}"))
        } else {
            Ok(())
        }
    };
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = command(rest)?,
        "ENTRYPOINT" => {
            config.entrypoint = command(rest)?;
        }
        "ENV" => {
            needs("NAME=value")?;
            for (name, value) in pairs(rest)? {
                config.set_env(&name, &value);
            }
        }
        "LABEL" => {
            needs("key=value")?;
            config.labels.extend(pairs(rest)?);
        }
        "EXPOSE" => {
            needs("a port")?;
            for port in rest.split_whitespace() {
                let ports = exposed(port).ok_or_else(|| format!("\"{port}\" is not a port"))?;
                config.exposed_ports.extend(ports);
            }
            config.exposed_ports.sort();
            config.exposed_ports.dedup();
        }
        "USER" => {
            needs("a user")?;
            rest.clone_into(&mut config.user);
        }
        "WORKDIR" => {
            if !rest.starts_with('/') {
                return Err(format!("working directory \"{rest}\" is not absolute"));
            }
            rest.clone_into(&mut config.working_dir);
        }
        "VOLUME" => {
            needs("a directory")?;
            let volumes = list(rest).unwrap_or_else(|| words(rest));
            if let Some(relative) = volumes.iter().find(|path| !path.starts_with('/')) {
                return Err(format!("volume \"{relative}\" is not absolute"));
            }
            config.volumes.extend(volumes);
        }
        "STOPSIGNAL" => {
            needs("a signal")?;
            config.stop_signal = Some(rest.to_owned());
        }
        _ => {
            return Err(format!(
                "change \"{word}\" is not known; use CMD, ENTRYPOINT, ENV, LABEL, EXPOSE, USER, \
                 WORKDIR, VOLUME or STOPSIGNAL"
            ));
        }
    }
    Ok(())
}

fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A JSON list is taken as it is; anything else is a line for the shell.
fn command(text: &str) -> Result<Vec<String>, String> {
    match list(text) {
        Some(command) => Ok(command),
        None if text.starts_with('[') => Err(format!("\"{text}\" is not a list of texts")),
        None if text.is_empty() => Ok(Vec::new()),
        None => Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()]),
    }
}

/// `a=b c="d e"`, or the old form `name the rest is the value`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("\"{text}\" has no value; write it as name=value"))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let mut pairs = Vec::new();
    for word in unquoted(text)? {
        match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                pairs.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(format!("\"{word}\" is not name=value")),
        }
    }
    Ok(pairs)
}

/// Words apart by blanks; quotes and backslashes keep blanks together.
fn unquoted(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                word.get_or_insert_default()
                    .push(letters.next().unwrap_or('\\'));
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(format!("a quotation in \"{text}\" does not end"));
    }
    words.extend(word);
    Ok(words)
}
