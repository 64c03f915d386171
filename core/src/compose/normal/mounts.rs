//! The short form of volumes: `[source:]target[:options]`.

use super::super::text::shown;

/// A short form taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Short {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) read_only: bool,
    pub(super) no_copy: bool,
    pub(super) propagation: Option<String>,
    pub(super) selinux: Option<String>,
    /// Options that mean nothing.
    pub(super) unknown: Vec<String>,
    /// So short that docker compose does not look at it.
    pub(super) bare: bool,
}

impl Short {
    /// True if the source is a path, not the name of a volume.
    pub(super) fn is_bind(&self) -> bool {
        if self.source.starts_with(['.', '/', '~']) || self.source.starts_with("\\\\") {
            return true;
        }
        let mut chars = self.source.chars();
        chars.next().is_some_and(char::is_alphabetic) && chars.next() == Some(':')
    }

    /// True for `n:/n`: docker compose takes a single letter for a Windows drive.
    pub(super) fn is_drive_trap(&self) -> bool {
        let drive = |text: &str| {
            let mut chars = text.chars();
            chars.next().is_some_and(char::is_alphabetic) && chars.next() == Some(':')
        };
        drive(&self.source) || drive(&self.target)
    }
}

/// Takes `text` apart.
pub(super) fn parse(text: &str) -> Result<Short, String> {
    let mut short = Short::default();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.len() <= 2 {
        text.clone_into(&mut short.target);
        short.bare = true;
        return Ok(short);
    }
    let mut part = String::new();
    let mut open = 0usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        // A variable that was not replaced may hold colons.
        if c == '$' && chars.peek() == Some(&'{') {
            open += 1;
        } else if c == '}' && open > 0 {
            open -= 1;
        } else if c == ':' && !is_drive(&part) && open == 0 {
            short
                .take(&part, false)
                .map_err(|problem| said(text, problem))?;
            part.clear();
            continue;
        }
        part.push(c);
    }
    if open == 0 {
        short
            .take(&part, true)
            .map_err(|problem| said(text, problem))?;
    }
    Ok(short)
}

fn said(text: &str, problem: &str) -> String {
    format!("`{}` has {problem}", shown(text))
}

fn is_drive(part: &str) -> bool {
    let mut chars = part.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none()
}

impl Short {
    fn take(&mut self, part: &str, is_last: bool) -> Result<(), &'static str> {
        if part.is_empty() {
            return Err("nothing between two colons");
        }
        if self.source.is_empty() && is_last {
            part.clone_into(&mut self.target);
            return Ok(());
        }
        if self.source.is_empty() {
            part.clone_into(&mut self.source);
            return Ok(());
        }
        if self.target.is_empty() {
            part.clone_into(&mut self.target);
            return Ok(());
        }
        if !is_last {
            return Err("too many colons");
        }
        for option in part.split(',') {
            self.option(option);
        }
        Ok(())
    }

    fn option(&mut self, option: &str) {
        match option {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "nocopy" => self.no_copy = true,
            "z" | "Z" => self.selinux = Some(option.to_owned()),
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                self.propagation = Some(option.to_owned());
            }
            // Of Docker on other systems.
            "cached" | "delegated" | "consistent" => {}
            _ => self.unknown.push(option.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        let short = parse("./a:/b:ro,z,what").expect("valid");
        assert_eq!((&*short.source, &*short.target), ("./a", "/b"));
        assert!(short.read_only && short.is_bind());
        assert_eq!(short.selinux.as_deref(), Some("z"));
        assert_eq!(short.unknown, ["what"]);
        assert_eq!(parse("/data").expect("valid").source, "");
        assert!(!parse("data:/data").expect("valid").is_bind());
        let drive = parse("n:/n").expect("valid");
        assert_eq!((&*drive.source, &*drive.target), ("", "n:/n"));
        assert!(drive.is_drive_trap());
        let variable = parse("${A:-x}:/b:ro").expect("valid");
        assert_eq!((&*variable.source, &*variable.target), ("${A:-x}", "/b"));
    }

    #[test]
    fn empty_sections_and_more_colons_are_refused() {
        for text in ["", ":/b", "ab:", "ab::b", "./a:/b:ro:x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
