//! What the repository must not say: it speaks of itself, and of nobody's machine.

use unmoor_layout::{expect_none, files};

/// Each pattern in pieces, so that this file does not say it either.
const BANNED: [(&[&str], &str); 22] = [
    (&["/work", "/"], "a path of one machine"),
    (&["../", "shared"], "a folder outside the repository"),
    (&["/root/.", "cargo"], "a path of one machine"),
    (&["index.", "crates.io"], "a package registry"),
    (&["static.", "crates.io"], "a package registry"),
    (&["deb.", "debian.org"], "a package registry"),
    (&["py", "pi.org"], "a package registry"),
    (&["npm", "js.org"], "a package registry"),
    (
        &["DESIGN", ".md"],
        "a document that is not in the repository",
    ),
    (
        &["DESIGN", " §"],
        "a document that is not in the repository",
    ),
    (
        &["HOUSE", "-STYLE"],
        "a document that is not in the repository",
    ),
    (
        &["security", "-cases"],
        "a document that is not in the repository",
    ),
    (
        &["test", "-parts.md"],
        "a document that is not in the repository",
    ),
    (
        &["codebases", ".md"],
        "a document that is not in the repository",
    ),
    (&["TO", "DO"], "work left undone"),
    (&["FIX", "ME"], "work left undone"),
    (&["Cla", "ude"], "how the text was made"),
    (&["Anth", "ropic"], "how the text was made"),
    (&["Open", "AI"], "how the text was made"),
    (&["Chat", "GPT"], "how the text was made"),
    (&["sub", "agent"], "how the text was made"),
    (&["language ", "model"], "how the text was made"),
];

/// Written by cargo, or data that others wrote.
const EXEMPT: [&str; 1] = ["Cargo.lock"];

#[test]
fn the_text_speaks_of_the_product_alone() {
    let mut problems = Vec::new();
    for file in files::all() {
        if EXEMPT.contains(&file.as_str()) || file.starts_with("LICENSE") {
            continue;
        }
        for (number, line) in files::text(&file).lines().enumerate() {
            for (pieces, what) in BANNED {
                if line.contains(&pieces.concat()) {
                    problems.push(format!("{file}:{}: {what}", number + 1));
                }
            }
        }
    }
    expect_none(&problems, "these lines have no place here");
}

#[test]
fn file_names_say_what_is_inside() {
    let vague = [
        "util.rs",
        "utils.rs",
        "common.rs",
        "helpers.rs",
        "misc.rs",
        "data.rs",
    ];
    let problems: Vec<_> = files::rust()
        .into_iter()
        .filter(|file| vague.contains(&file.rsplit('/').next().unwrap_or_default()))
        .collect();
    expect_none(&problems, "a file is named after what it holds");
}
