//! Rules as text: `METHOD PATH WHEN ACTION`, the first that matches and fires wins.

use std::str::FromStr;
use std::time::Duration;

/// What happens to a request or connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Forwarded after a pause.
    Delay(Duration),
    /// Reset before anything reaches the server.
    DropBefore,
    /// Forwarded and carried out; the client sees a reset instead of the answer.
    DropAfter,
    /// Answered by the proxy with this status, and `Retry-After` seconds when given.
    Status(u16, Option<u32>),
    /// The answer ends after this many bytes of body, and the connection with it.
    Truncate(usize),
    /// This many bytes of the answer's body are changed.
    Corrupt(usize),
    /// Sent to the server twice; the client sees the second answer.
    Duplicate,
}

/// For which of the requests that match a rule fires, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// Each of them.
    Always,
    /// The first to the last of a range, both included.
    Nth(u64, u64),
    /// This many of a hundred, as the seed has it.
    Percent(u8),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    method: String,
    path: String,
    when: When,
    action: Action,
}

/// A rule that cannot be read, or not be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// There are not four words.
    #[error("rule {0:?}: want `METHOD PATH WHEN ACTION`, for example `POST /v1/* 1 drop-after`")]
    Shape(String),
    /// The third word counts nothing.
    #[error("rule {0:?}: WHEN is `*`, a number, a range such as `2..4`, or a share such as `10%`")]
    When(String),
    /// The fourth word is no action.
    #[error(
        "rule {0:?}: ACTION is `delay=MS`, `drop-before`, `drop-after`, `status=CODE[,RETRY_AFTER]`, \
         `truncate=BYTES`, `corrupt=BYTES` or `duplicate`"
    )]
    Action(String),
    /// The action needs to understand requests.
    #[error("rule {0:?}: a TCP proxy knows no status and cannot send a request twice")]
    HttpOnly(String),
}

impl Rule {
    /// A rule from its parts; `*` in method and path stands for anything.
    #[must_use]
    pub fn new(
        method: impl Into<String>,
        path: impl Into<String>,
        when: When,
        action: Action,
    ) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            when,
            action,
        }
    }

    /// What the rule does when it fires.
    #[must_use]
    pub fn action(&self) -> &Action {
        &self.action
    }

    pub(super) fn when(&self) -> When {
        self.when
    }

    pub(super) fn matches(&self, method: &str, path: &str) -> bool {
        glob(&self.method, method) && glob(&self.path, path)
    }

    pub(super) fn check_for_tcp(&self) -> Result<(), RuleError> {
        match self.action {
            Action::Status(..) | Action::Duplicate => Err(RuleError::HttpOnly(format!(
                "{} {}",
                self.method, self.path
            ))),
            _ => Ok(()),
        }
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let words: Vec<_> = text.split_whitespace().collect();
        let [method, path, when, action] = words.as_slice() else {
            return Err(RuleError::Shape(text.to_owned()));
        };
        let when = parse_when(when).ok_or_else(|| RuleError::When(text.to_owned()))?;
        let action = parse_action(action).ok_or_else(|| RuleError::Action(text.to_owned()))?;
        Ok(Self::new(*method, *path, when, action))
    }
}

fn parse_when(text: &str) -> Option<When> {
    if text == "*" {
        return Some(When::Always);
    }
    if let Some(share) = text.strip_suffix('%') {
        return share
            .parse()
            .ok()
            .filter(|share| *share <= 100)
            .map(When::Percent);
    }
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first >= 1 && first <= last).then_some(When::Nth(first, last))
}

fn parse_action(text: &str) -> Option<Action> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    Some(match name {
        "delay" => Action::Delay(Duration::from_millis(value.parse().ok()?)),
        "drop-before" if value.is_empty() => Action::DropBefore,
        "drop-after" if value.is_empty() => Action::DropAfter,
        "status" => {
            let (code, after) = value.split_once(',').unwrap_or((value, ""));
            let code = code.parse().ok().filter(|code| (200..600).contains(code))?;
            let after = if after.is_empty() {
                None
            } else {
                Some(after.parse().ok()?)
            };
            Action::Status(code, after)
        }
        "truncate" => Action::Truncate(value.parse().ok()?),
        "corrupt" => Action::Corrupt(value.parse().ok().filter(|count| *count > 0)?),
        "duplicate" if value.is_empty() => Action::Duplicate,
        _ => return None,
    })
}

/// `*` stands for any run of characters.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(place) = rest.find(part) else {
            return false;
        };
        rest = &rest[place + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_can_be_written() {
        let cases = [
            ("delay=250", Action::Delay(Duration::from_millis(250))),
            ("drop-before", Action::DropBefore),
            ("drop-after", Action::DropAfter),
            ("status=503", Action::Status(503, None)),
            ("status=429,7", Action::Status(429, Some(7))),
            ("truncate=10", Action::Truncate(10)),
            ("corrupt=1", Action::Corrupt(1)),
            ("duplicate", Action::Duplicate),
        ];
        for (text, action) in cases {
            let rule: Rule = format!("GET /x 2..4 {text}").parse().expect(text);
            assert_eq!(rule, Rule::new("GET", "/x", When::Nth(2, 4), action));
        }
    }

    #[test]
    fn a_bad_rule_says_which_word() {
        let parse = |text: &str| text.parse::<Rule>().expect_err(text);
        assert!(matches!(parse("GET /x"), RuleError::Shape(_)));
        for when in ["0", "3..2", "101%", "x"] {
            assert!(
                matches!(
                    parse(&format!("GET /x {when} duplicate")),
                    RuleError::When(_)
                ),
                "{when}"
            );
        }
        for action in ["delay", "status=99", "corrupt=0", "drop-after=1", "explode"] {
            assert!(
                matches!(parse(&format!("GET /x 1 {action}")), RuleError::Action(_)),
                "{action}"
            );
        }
    }

    #[test]
    fn stars_stand_for_anything() {
        assert!(glob("*", "") && glob("/v*/blobs/*", "/v2/blobs/sha256:1") && glob("/a", "/a"));
        assert!(!glob("/a", "/ab") && !glob("/v*/blobs/*", "/v2/manifests/1") && !glob("a*a", "a"));
    }
}
