//! The short form of a volume: `[source:]target[:options]`.

use super::super::text::shown;

/// A short form taken apart.
#[derive(Debug, PartialEq)]
pub(super) struct Short<'t> {
    /// Name or path; `None` is a volume without a name.
    pub(super) source: Option<&'t str>,
    pub(super) target: &'t str,
    pub(super) options: Vec<&'t str>,
}

impl Short<'_> {
    /// True if the source is a path of the host, not the name of a volume.
    pub(super) fn is_bind(&self) -> bool {
        self.source
            .is_some_and(|source| source.starts_with(['.', '/', '~']))
    }
}

/// Takes `text` apart.
pub(super) fn parse(text: &str) -> Result<Short<'_>, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(format!("`{}` has nothing between two colons", shown(text)));
    }
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, None),
        [source, target] => (Some(*source), *target, None),
        [source, target, options] => (Some(*source), *target, Some(*options)),
        _ => return Err(format!("`{}` has too many colons", shown(text))),
    };
    Ok(Short {
        source,
        target,
        options: options.map(|o| o.split(',').collect()).unwrap_or_default(),
    })
}

/// True for `n:/n`: docker compose takes a single letter for a Windows drive.
pub(super) fn is_drive_trap(short: &Short<'_>) -> bool {
    short
        .source
        .is_some_and(|source| source.len() == 1 && source.starts_with(|c: char| c.is_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        let short = parse("./a:/b:ro,z").expect("valid");
        assert_eq!((short.source, short.target), (Some("./a"), "/b"));
        assert_eq!(short.options, ["ro", "z"]);
        assert!(short.is_bind());
        assert_eq!(parse("/data").expect("valid").source, None);
        assert!(!parse("data:/data").expect("valid").is_bind());
        assert!(is_drive_trap(&parse("n:/n").expect("valid")));
    }

    #[test]
    fn empty_sections_and_more_colons_are_refused() {
        for text in ["", ":/b", "a:", "a::b", "a:/b:ro:x", ":"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
