//! Who may use whom, and what must not be in a tree at all.

use unmoor_layout::cargo::{Package, packages, tree};
use unmoor_layout::{expect_none, files};

/// What a package may use of ours: in what it ships, and in its own tests beyond that.
fn allowed(folder: &str) -> (Vec<&'static str>, Vec<&'static str>) {
    let test_tools = vec!["tests/conformance", "tests/tools"];
    match folder {
        "core" => (vec![], vec!["tests/tools"]),
        "backends/http" => (vec!["core"], test_tools),
        "runtime-local" => (
            vec!["core", "runtime-local/image", "runtime-local/static"],
            test_tools,
        ),
        "runtime-local/image" => (vec!["core"], test_tools),
        "runtime-local/oci" => (
            vec!["core", "runtime-local", "runtime-local/image"],
            test_tools,
        ),
        "" => (
            vec!["core", "backends/*", "runtime-local", "runtime-local/image"],
            test_tools,
        ),
        "cli" => (vec!["", "tests/conformance"], test_tools),
        "examples" => (vec![""], vec!["", "tests/tools"]),
        // It stands for a backend of somebody else's, which sees what is public and nothing more.
        "examples/backend" => (vec![""], test_tools),
        "xtask" => (vec!["tests/tools"], vec![]),
        "tests/conformance" => (
            vec!["core", "runtime-local/static"],
            vec!["backends/sim", "tests/tools"],
        ),
        "tests/e2e" => (vec!["", "core", "tests/conformance", "tests/tools"], vec![]),
        "tests/fuzz" => (vec!["core"], vec![]),
        "tests/tools" | "tests/layout" | "tests/shim" => (vec![], vec!["tests/tools"]),
        folder if folder.starts_with("tests/") => (vec!["", "tests/*"], vec![]),
        folder if folder.starts_with("benches") => (vec!["", "core"], vec!["tests/tools"]),
        folder if folder.starts_with("backends/") => (vec!["core", "backends/http"], test_tools),
        _ => (vec![], vec![]),
    }
}

fn matches(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => folder.starts_with(prefix),
        None => folder == pattern,
    }
}

fn wrong_edges(package: &Package) -> Vec<String> {
    let (shipped, tests) = allowed(&package.folder);
    let may = |(folder, only_tests): &&(String, bool)| {
        shipped.iter().any(|pattern| matches(pattern, folder))
            || *only_tests && tests.iter().any(|pattern| matches(pattern, folder))
    };
    let wrong = package.edges.iter().filter(|edge| !may(edge));
    wrong
        .map(|(folder, _)| format!("{} must not use {folder:?}", package.name))
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    assert!(
        packages.iter().any(|package| !package.edges.is_empty()),
        "no edge was seen"
    );
    let problems: Vec<_> = packages.iter().flat_map(wrong_edges).collect();
    expect_none(
        &problems,
        "cli, examples, tests -> unmoor -> backends, runtime-local -> core",
    );
}

#[test]
fn the_core_speaks_neither_http_nor_to_the_kernel() {
    let names = tree(&["--package", "unmoor-core", "--edges", "normal,build"]);
    assert!(names.iter().any(|name| name == "unmoor-core"), "{names:?}");
    let banned = ["reqwest", "hyper", "rustix", "nix", "axum", "h2"];
    let found: Vec<_> = names
        .into_iter()
        .filter(|name| banned.contains(&name.as_str()))
        .collect();
    expect_none(&found, "unmoor-core stays free of");
}

#[test]
fn the_local_backend_alone_brings_no_http() {
    let features = ["--no-default-features", "--features", "local"];
    let mut args = vec!["--package", "unmoor", "--edges", "normal,build"];
    args.extend(features);
    let names = tree(&args);
    assert!(
        names.iter().any(|name| name == "unmoor-runtime-local"),
        "{names:?}"
    );
    let banned = ["reqwest", "hyper", "axum", "h2", "rustls"];
    let found: Vec<_> = names
        .into_iter()
        .filter(|name| banned.contains(&name.as_str()))
        .collect();
    expect_none(&found, "unmoor with only `local` stays free of");
}

/// The same list that `cargo deny` reads, for those who have not installed it.
#[test]
fn banned_crates_are_in_no_tree() {
    let text = files::text("deny.toml");
    let banned: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.split('"').next())
        .collect();
    assert!(banned.len() >= 10, "deny.toml bans too little: {banned:?}");
    let names = tree(&["--workspace", "--all-features", "--edges", "all"]);
    let found: Vec<_> = names
        .into_iter()
        .filter(|name| banned.contains(&name.as_str()))
        .collect();
    expect_none(&found, "deny.toml bans");
}

#[test]
fn every_package_takes_the_workspace_s_settings() {
    let mut problems = Vec::new();
    for package in packages() {
        let separator = if package.folder.is_empty() { "" } else { "/" };
        let file = format!("{}{separator}Cargo.toml", package.folder);
        let text = files::text(&file);
        for line in ["version", "edition", "rust-version", "license"] {
            if !text.contains(&format!("\n{line}.workspace = true")) {
                problems.push(format!("{file}: {line}"));
            }
        }
        if !text.contains("[lints]\nworkspace = true") {
            problems.push(format!("{file}: lints"));
        }
    }
    expect_none(&problems, "settings come from the workspace");
}
