//! Programs that use the library: one outside of this repository, and the example.

use unmoor_e2e::patience::until;
use unmoor_e2e::program::{find, library_example, missing};
use unmoor_e2e::shop::{self, PAGE};
use unmoor_e2e::stage::{PATIENCE, Stage, text};
use unmoor_tools::skipped;

/// A stage that has the images of the shop, or nothing if this machine cannot.
fn staged() -> Option<Stage> {
    if let Some(why) = missing(&[]) {
        skipped(&why);
        return None;
    }
    let stage = Stage::open();
    stage.import(&shop::images());
    Some(stage)
}

/// The number on the page, which takes all three services and the names between them.
fn visit(stage: &Stage) -> u32 {
    until("the page counts visits", PATIENCE, || {
        let page = stage.get(PAGE)?;
        number(&page).ok_or(page)
    })
}

fn number(page: &str) -> Option<u32> {
    let (_, rest) = page.split_once("visitor number ")?;
    rest.split_once('.')?.0.parse().ok()
}

#[test]
fn fifteen_lines_in_a_crate_of_their_own_bring_the_shop_up() {
    if std::env::var_os("CARGO").is_none() && find("cargo").is_none() {
        return skipped("`cargo` is not installed");
    }
    let program = shop::readme_program("Fifteen lines");
    assert_eq!(program.lines().count(), 15, "{program}");
    assert_eq!(program.matches("\"local:\"").count(), 1, "{program}");
    let outside = tempfile::tempdir().expect("a directory");
    let Some(stage) = staged() else {
        // That it compiles outside of the workspace is seen without root, too.
        let built = shop::build_outside(outside.path(), "unmoor-scratch", &program);
        built.unwrap_or_else(|errors| panic!("{errors}"));
        return;
    };
    let own = format!("{:?}", stage.backend());
    let program = program.replace("\"local:\"", &own);
    let built = shop::build_outside(outside.path(), "unmoor-scratch", &program);
    let built = built.unwrap_or_else(|errors| panic!("{errors}"));

    let noted = stage.note();
    let output = stage.command(built).output().expect("it starts");
    assert!(output.status.success(), "{}", shop::said(&output));
    let said = text(&output.stdout);
    assert!(said.contains("Some(8080)"), "no published address: {said}");
    // The program has ended; what it spawned serves on.
    let first = visit(&stage);
    assert_eq!(visit(&stage), first + 1);
    let replicas: Vec<String> = stage.phases_of("default").into_keys().collect();
    let wanted = ["api-1", "api-2", "store-1", "web-1"].map(|name| format!("default-{name}"));
    assert_eq!(replicas, wanted);

    let _ = stage.ok(&["-p", "default", "down", "-v"]);
    stage
        .get(PAGE)
        .expect_err("nobody answers after everything has gone");
    stage.nothing_left(&noted);
}

#[test]
fn the_shop_through_the_library_serves_and_goes() {
    let Some(stage) = staged() else { return };
    let noted = stage.note();
    let mut up = stage.command(library_example());
    let output = up
        .args([&stage.backend(), "up"])
        .arg(shop::packed())
        .output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{}", shop::said(&output));
    let said = text(&output.stdout);
    let shown = number(&said).unwrap_or_else(|| panic!("no page: {said}"));
    assert_eq!(visit(&stage), shown + 1);
    let api = stage.phases_of("shop");
    let api: Vec<&String> = api.keys().filter(|name| name.contains("-api-")).collect();
    assert_eq!(api.len(), 3, "the program scaled it: {api:?}");

    let mut down = stage.command(library_example());
    let output = down.args([&stage.backend(), "down"]).output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{}", shop::said(&output));
    stage
        .get(PAGE)
        .expect_err("nobody answers after everything has gone");
    stage.nothing_left(&noted);
}
