//! What is watched: the rules under `develop.watch`, and which paths they are about.

use std::path::{Path, PathBuf};

use serde_json::Value;
use unmoor::backend::ExecOptions;
use unmoor::compose::Form;
use unmoor::name::ServiceName;
use unmoor::{Error, ErrorKind};

use super::patterns::Patterns;
use crate::app::App;
use crate::exit::Failure;
use crate::project;

/// What editors and version control leave beside files, which is never meant.
const NEVER: [&str; 7] = [
    "**/.git",
    "**/*~",
    "**/.*.sw?",
    "**/.#*",
    "**/#*#",
    "**/4913",
    "**/.DS_Store",
];

/// One rule of a service.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(super) service: ServiceName,
    /// What is watched here.
    pub(super) path: PathBuf,
    /// Where it goes inside, if it is copied.
    pub(super) target: Option<String>,
    pub(super) then: Then,
    /// Everything is copied before the first change.
    pub(super) initial: bool,
    ignored: Vec<(PathBuf, Patterns)>,
    included: Patterns,
}

/// What happens once files are copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing more.
    Nothing,
    /// The replicas are restarted.
    Restart,
    /// A command runs in each replica.
    Exec(ExecOptions),
}

impl Rule {
    /// True if a change of this path is one that the rule is about.
    pub(super) fn wants(&self, path: &Path) -> bool {
        let Ok(inside) = path.strip_prefix(&self.path) else {
            return false;
        };
        let is_included = self.included.is_empty() || self.included.fit(inside);
        let is_ignored = |(base, patterns): &(PathBuf, Patterns)| {
            path.strip_prefix(base).is_ok_and(|path| patterns.fit(path))
        };
        is_included && !self.ignored.iter().any(is_ignored)
    }

    /// True if something in this directory may be one that the rule is about.
    pub(super) fn enters(&self, directory: &Path) -> bool {
        let ignores = |(base, patterns): &(PathBuf, Patterns)| {
            let inside = directory.strip_prefix(base);
            !patterns.has_exceptions() && inside.is_ok_and(|path| patterns.fit(path))
        };
        directory.starts_with(&self.path) && !self.ignored.iter().any(ignores)
    }

    /// Where a path of this rule stands inside.
    pub(super) fn place(&self, path: &Path) -> Option<String> {
        let target = self.target.as_ref()?;
        let inside = path.strip_prefix(&self.path).ok()?;
        let inside = inside.to_str()?;
        Some(match inside {
            "" => target.clone(),
            inside => format!("{}/{inside}", target.trim_end_matches('/')),
        })
    }
}

/// Reads the rules of these services, or of all.
pub(crate) fn read(
    app: &App,
    services: &[ServiceName],
    allow_gaps: bool,
) -> Result<Vec<Rule>, Failure> {
    let mut input = project::input(&app.globals)?;
    input.options.services = services.iter().map(ToString::to_string).collect();
    let document = input.document(Form::default())?;
    let value = document.to_value();
    let mut rules = Vec::new();
    let mut refused = Vec::new();
    for (name, service) in value["services"].as_object().into_iter().flatten() {
        let name = ServiceName::parse(name.as_str()).map_err(Error::from)?;
        if !services.is_empty() && !services.contains(&name) {
            continue;
        }
        let list = service["develop"]["watch"].as_array();
        for (at, rule) in list.into_iter().flatten().enumerate() {
            match one(&name, service, rule) {
                Ok(rule) => rules.push(rule),
                Err(why) => refused.push(format!("services.{name}.develop.watch[{at}]: {why}")),
            }
        }
    }
    match refused.is_empty() || allow_gaps {
        true => refused.iter().for_each(|text| app.ui.warn(text)),
        false => {
            let error = Error::new(ErrorKind::Unsupported, refused.join("; "));
            let hint = "`sync+restart` needs no new image; `--allow-gaps` goes on without these";
            return Err(error.hint(hint).into());
        }
    }
    if rules.is_empty() {
        let text = "no service has anything under `develop.watch` that can be watched";
        return Err(Error::new(ErrorKind::NotFound, text)
            .on(document.name())
            .into());
    }
    Ok(rules)
}

fn one(name: &ServiceName, service: &Value, rule: &Value) -> Result<Rule, String> {
    let text = |key: &str| rule[key].as_str().map(str::to_owned);
    let path = PathBuf::from(text("path").unwrap_or_default());
    let target = text("target").map(|target| match target.starts_with('/') {
        true => target,
        false => format!("/{target}"),
    });
    let (target, then) = match rule["action"].as_str().unwrap_or_default() {
        "sync" => (target, Then::Nothing),
        "sync+restart" => (target, Then::Restart),
        "restart" => (None, Then::Restart),
        "sync+exec" => (target, Then::Exec(command(&rule["exec"])?)),
        "rebuild" => {
            return Err("`rebuild` builds an image, and images are not built yet".to_owned());
        }
        other => return Err(format!("`{other}` is not known here")),
    };
    let mut ignored = vec![
        (path.clone(), Patterns::read(NEVER)),
        (path.clone(), Patterns::read(texts(&rule["ignore"]))),
    ];
    ignored.extend(of_the_build(service));
    Ok(Rule {
        service: name.clone(),
        target,
        then,
        initial: rule["initial_sync"] == true,
        ignored,
        included: Patterns::read(texts(&rule["include"])),
        path,
    })
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// What a build would leave out of its context is not carried over either.
fn of_the_build(service: &Value) -> Option<(PathBuf, Patterns)> {
    let context = PathBuf::from(service["build"]["context"].as_str()?);
    let text = std::fs::read_to_string(context.join(".dockerignore")).ok()?;
    Some((context, Patterns::read(text.lines())))
}

fn command(exec: &Value) -> Result<ExecOptions, String> {
    let words: Vec<&str> = texts(&exec["command"]).collect();
    if words.is_empty() {
        return Err("`sync+exec` needs `exec.command`".to_owned());
    }
    if exec["privileged"] == true {
        return Err("a command never gets more rights than its replica".to_owned());
    }
    let text = |key: &str| exec[key].as_str().map(str::to_owned);
    let mut options = ExecOptions::new(words)
        .user(text("user"))
        .working_dir(text("working_dir"));
    for (key, value) in exec["environment"].as_object().into_iter().flatten() {
        if let Some(value) = value.as_str() {
            options = options.env(key, value);
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(value: &Value) -> Result<Rule, String> {
        let name = ServiceName::parse("web").expect("a name");
        one(&name, &json!({}), value)
    }

    #[test]
    fn a_rule_is_about_what_is_neither_ignored_nor_elsewhere() {
        let rule = rule(&json!({
            "path": "/src/web", "action": "sync", "target": "/app/", "ignore": ["node_modules/"],
        }));
        let rule = rule.expect("a rule");
        let wants = |path: &str| rule.wants(Path::new(path));
        assert!(wants("/src/web/a.js") && wants("/src/web"));
        assert!(!wants("/src/website/a.js") && !wants("/src"));
        assert!(!wants("/src/web/node_modules/x/y.js"));
        assert!(!wants("/src/web/.git/HEAD") && !wants("/src/web/a.js~"));
        assert!(!wants("/src/web/.a.js.swp"));
        assert!(rule.enters(Path::new("/src/web/deep")));
        assert!(!rule.enters(Path::new("/src/web/node_modules")));
        let place = |path: &str| rule.place(Path::new(path));
        assert_eq!(place("/src/web/a/b.js").as_deref(), Some("/app/a/b.js"));
        assert_eq!(place("/src/web").as_deref(), Some("/app/"));
    }

    #[test]
    fn only_what_is_included_is_wanted() {
        let value = json!({
            "path": "/src", "action": "sync+restart", "target": "/app", "include": ["**/*.py"],
        });
        let rule = rule(&value).expect("a rule");
        assert!(rule.wants(Path::new("/src/a/b.py")));
        assert!(!rule.wants(Path::new("/src/a/b.txt")));
        assert_eq!(rule.then, Then::Restart);
    }

    #[test]
    fn what_cannot_be_followed_says_why() {
        for (value, said) in [
            (json!({"path": "/x", "action": "rebuild"}), "not built yet"),
            (
                json!({"path": "/x", "action": "sync+exec", "target": "/y"}),
                "needs `exec.command`",
            ),
            (
                json!({
                    "path": "/x", "action": "sync+exec", "target": "/y",
                    "exec": {"command": ["true"], "privileged": true},
                }),
                "more rights",
            ),
        ] {
            let why = rule(&value).expect_err("it cannot be followed");
            assert!(why.contains(said), "{why}");
        }
    }
}
