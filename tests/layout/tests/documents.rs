//! The documents keep what they promise: commands, tests, symbols and links are there.

use unmoor_layout::markdown::{code_blocks, code_spans, link_targets, prose, section, symbols};
use unmoor_layout::source::Source;
use unmoor_layout::{expect_none, files};

const WANTED: [&str; 11] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "docs/ARCHITECTURE.md",
    "docs/GLOSSARY.md",
    "docs/PROMISES.md",
    ".ci/run",
    "deny.toml",
];

#[test]
fn the_documents_exist() {
    let missing: Vec<_> = WANTED
        .into_iter()
        .filter(|file| !files::exists(file))
        .map(ToOwned::to_owned)
        .collect();
    expect_none(&missing, "these files belong to the repository");
}

#[test]
fn the_readme_has_one_command_to_run_and_one_to_test() {
    let readme = files::text("README.md");
    for heading in ["## Run it", "## Test it"] {
        let part = section(&readme, heading).unwrap_or_else(|| panic!("README has no {heading}"));
        let blocks = code_blocks(part);
        assert_eq!(
            blocks.len(),
            1,
            "{heading} wants one code block: {blocks:?}"
        );
        assert!(
            !blocks[0].trim().is_empty(),
            "{heading} has an empty code block"
        );
    }
}

#[test]
fn ci_runs_the_readme_s_test_command() {
    let readme = files::text("README.md");
    let part = section(&readme, "## Test it").expect("README has a heading ## Test it");
    let script = files::text(".ci/run");
    let blocks = code_blocks(part);
    let commands = blocks
        .iter()
        .flat_map(|block| block.lines())
        .flat_map(|line| line.split("&&"));
    let cargo: Vec<_> = commands
        .map(str::trim)
        .filter(|line| line.starts_with("cargo "))
        .collect();
    assert!(!cargo.is_empty(), "the test command does not run cargo");
    let missing = cargo
        .into_iter()
        .filter(|line| !script.contains(line))
        .map(ToOwned::to_owned);
    expect_none(
        &missing.collect::<Vec<_>>(),
        ".ci/run runs what the README tells to run",
    );
}

/// A numbered item: `12. sentence` with the lines below it, or a table row `| 12 | … |`.
fn numbered_items(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let row = line
            .strip_prefix('|')
            .map(|row| row.split('|').next().unwrap_or("").trim());
        let list = line.split_once(". ").map(|(number, _)| number);
        let is_number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if row.or(list).is_some_and(is_number) {
            items.push(line.to_owned());
            open = row.is_none();
        } else if line.starts_with('#') || line.trim().is_empty() {
            open = false;
        } else if open && let Some(item) = items.last_mut() {
            item.push('\n');
            item.push_str(line);
        }
    }
    items
}

/// `path/to/file.rs::name`, or a folder in place of the file: a function or a named case there.
fn names_a_test(span: &str) -> bool {
    let Some((path, name)) = span.split_once("::") else {
        return false;
    };
    let within = |file: &String| {
        file == path || file.starts_with(&format!("{}/", path.trim_end_matches('/')))
    };
    let sources = files::rust().into_iter().filter(within);
    let needles = [format!("fn {name}("), format!("\"{name}\"")];
    sources.into_iter().any(|file| {
        let text = files::text(&file);
        needles.iter().any(|needle| text.contains(needle))
    })
}

#[test]
fn every_promise_names_its_test() {
    let text = files::text("docs/PROMISES.md");
    let items = numbered_items(&text);
    assert!(
        !items.is_empty(),
        "docs/PROMISES.md has no numbered promise"
    );
    let mut problems = Vec::new();
    for item in &items {
        let spans = code_spans(item);
        let tests: Vec<_> = spans
            .into_iter()
            .filter(|span| span.contains(".rs::") || (span.contains("::") && span.contains('/')))
            .collect();
        let missing: Vec<_> = tests.iter().filter(|span| !names_a_test(span)).collect();
        let pending = item.contains("*pending*");
        if !missing.is_empty() {
            problems.push(format!("{item}\n    names what is not there: {missing:?}"));
        } else if tests.is_empty() && !pending {
            problems.push(format!(
                "{item}\n    names no `path/file.rs::test` and is not *pending*"
            ));
        }
    }
    expect_none(&problems, "every promise has a test or is pending");
}

fn documents() -> Vec<String> {
    files::all()
        .into_iter()
        .filter(|file| file.ends_with(".md"))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut problems = Vec::new();
    for file in documents() {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        for target in link_targets(&prose(&files::text(&file))) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            let there = || files::root().join(folder).join(path).exists();
            if !elsewhere && !path.is_empty() && !there() {
                problems.push(format!("{file}: {target}"));
            }
        }
    }
    expect_none(&problems, "these links lead nowhere");
}

/// All names that our sources declare: items, methods, fields, variants.
fn declared() -> String {
    let code = |file: String| Source::parse(&files::text(&file)).code().to_owned();
    files::rust()
        .into_iter()
        .map(code)
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_declared(code: &str, name: &str) -> bool {
    let name = name.trim_end_matches("()").trim_end_matches('!');
    let kinds = [
        "struct",
        "enum",
        "trait",
        "fn",
        "type",
        "const",
        "static",
        "mod",
        "macro_rules!",
    ];
    let part = |char: char| char.is_alphanumeric() || char == '_';
    let ends = |rest: &str| !rest.starts_with(part);
    let item = kinds.iter().any(|kind| {
        let needle = format!("{kind} {name}");
        code.match_indices(&needle)
            .any(|(place, _)| ends(&code[place + needle.len()..]))
    });
    // A variant or a field stands first on its line.
    item || code.lines().any(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([',', '(', ':', ' ']))
    })
}

#[test]
fn symbols_named_in_documents_exist() {
    let code = declared();
    let mut problems = Vec::new();
    for file in documents() {
        for symbol in symbols(&prose(&files::text(&file))) {
            let mut parts = symbol.rsplit("::");
            let last = parts.next().unwrap_or_default();
            let owner = parts
                .next()
                .filter(|part| part.starts_with(char::is_uppercase));
            if !is_declared(&code, last) || owner.is_some_and(|owner| !is_declared(&code, owner)) {
                problems.push(format!("{file}: [`{symbol}`]"));
            }
        }
    }
    expect_none(&problems, "these symbols are declared nowhere");
}

#[test]
fn the_readers_of_documents_read() {
    let items =
        numbered_items("# P\n\n1. One\n   `tests/a.rs::b`\n\ntext\n| 2 | two | *pending* |\n");
    assert_eq!(
        items,
        ["1. One\n   `tests/a.rs::b`", "| 2 | two | *pending* |"]
    );
    assert!(names_a_test(
        "tests/layout/tests/documents.rs::the_readers_of_documents_read"
    ));
    assert!(!names_a_test(
        "tests/layout/tests/documents.rs::no_such_test"
    ));
    assert!(is_declared(
        "pub struct Client;\n    Added(u8),\n",
        "Client"
    ));
    assert!(is_declared("pub struct Client;\n    Added(u8),\n", "Added"));
    assert!(!is_declared("pub struct Clients;", "Client"));
}
