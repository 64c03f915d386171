//! Names of stacks, services, networks and volumes: checked once, valid afterwards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest accepted name, in bytes: one DNS label (RFC 1035 §2.3.4).
pub const MAX_NAME: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what} name: {problem}")]
pub struct NameError {
    what: &'static str,
    text: String,
    problem: &'static str,
}

impl NameError {
    fn new(what: &'static str, text: &str, problem: &'static str) -> Self {
        // Names end up in messages and terminals: shorten, and let Debug-escaping tame control bytes.
        let text: String = text
            .chars()
            .take(MAX_NAME)
            .flat_map(char::escape_default)
            .collect();
        Self {
            what,
            text,
            problem,
        }
    }
}

fn check(what: &'static str, text: &str, upper: bool) -> Result<(), NameError> {
    let bad = |problem| Err(NameError::new(what, text, problem));
    let Some(first) = text.bytes().next() else {
        return bad("it is empty");
    };
    if text.len() > MAX_NAME {
        return bad("it is longer than 63 bytes");
    }
    let plain =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || (upper && b.is_ascii_uppercase());
    if !plain(first) {
        return bad(match first.is_ascii_uppercase() {
            true => "it must start with a lower-case letter or digit",
            false => "it must start with a letter or digit",
        });
    }
    let dots = upper;
    if !text
        .bytes()
        .all(|b| plain(b) || b == b'_' || b == b'-' || (dots && b == b'.'))
    {
        return bad(if upper {
            "use letters, digits, `_`, `-` and `.`"
        } else {
            "use lower-case letters, digits, `_` and `-`"
        });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, upper: $upper:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks `text` and keeps it.
            ///
            /// # Errors
            /// [`NameError`] says which rule the text breaks.
            pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check($what, &text, $upper)?;
                Ok(Self(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// Name of a stack: `[a-z0-9][a-z0-9_-]{0,62}`, as Compose demands of project names.
    StackName, "stack", upper: false
);
name!(
    /// Name of a service within its stack: letters, digits, `_`, `-`, `.`.
    ServiceName, "service", upper: true
);
name!(
    /// Name of a network within its stack.
    NetworkName, "network", upper: true
);
name!(
    /// Name of a volume within its stack.
    VolumeName, "volume", upper: true
);
name!(
    /// Name of a secret or config within its stack.
    BlobName, "secret or config", upper: true
);
name!(
    /// Name of a port, as SRV questions have it: `_name._tcp.service`.
    PortName, "port", upper: false
);
name!(
    /// Name by which one service reaches another.
    Alias, "alias", upper: true
);

impl Alias {
    /// The alias as it stands in `UNMOOR_LINK_<ALIAS>_*`: upper case, other bytes as `_`.
    #[must_use]
    pub fn env_part(&self) -> String {
        self.0
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect()
    }
}

impl From<&ServiceName> for Alias {
    fn from(name: &ServiceName) -> Self {
        Self(name.as_str().to_owned())
    }
}

/// One running copy of a service: stack, service and slot (1, 2, …).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId {
    /// The stack it belongs to.
    pub stack: StackName,
    /// The service it is a copy of.
    pub service: ServiceName,
    /// Its number within the service, counted from 1. A replacement that overlaps with the copy
    /// it replaces has the lowest free number.
    pub slot: u32,
}

impl ReplicaId {
    /// Names a replica.
    #[must_use]
    pub fn new(stack: StackName, service: ServiceName, slot: u32) -> Self {
        Self {
            stack,
            service,
            slot,
        }
    }
}

impl fmt::Display for ReplicaId {
    /// `stack-service-1`, as docker compose names containers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}-{}-{}", self.stack, self.service, self.slot);
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_reject_what_could_reach_a_path_or_a_terminal() {
        for bad in [
            "",
            ".",
            "..",
            "-rf",
            "a/b",
            "a\nb",
            "a\u{202e}b",
            "аpp",
            "a\0",
            &"x".repeat(64),
        ] {
            assert!(ServiceName::parse(bad).is_err(), "{bad:?} was accepted");
            assert!(StackName::parse(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(StackName::parse("Shop").is_err());
        assert!(ServiceName::parse("Shop.v1_a-b").is_ok());
    }

    #[test]
    fn an_error_never_repeats_control_characters() {
        let error = StackName::parse("a\u{1b}]52;c;x\u{7}").expect_err("control characters");
        assert!(!error.to_string().contains('\u{1b}'));
    }

    #[test]
    fn alias_becomes_an_environment_name() {
        let alias = Alias::parse("my-db.v1").expect("valid alias");
        assert_eq!(alias.env_part(), "MY_DB_V1");
    }
}
