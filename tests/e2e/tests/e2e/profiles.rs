//! Services with profiles: naming one switches its profile on, as with docker compose.

use unmoor_e2e::stage::{Stage, text};

const FILE: &str = "\
name: prof
services:
  web:
    image: small:1
    command: [sleep, \"1000000\"]
    stop_grace_period: 0s
  tool:
    image: small:1
    profiles: [tools]
    depends_on: [side]
    command: [echo, from the tool]
  side:
    image: small:1
    profiles: [tools]
    command: [sleep, \"1000000\"]
    stop_grace_period: 0s
  far:
    image: small:1
    profiles: [far]
    depends_on: [side]
    command: [\"true\"]
";

fn ran(stage: &Stage, words: &[&str]) -> (Option<i32>, String) {
    let output = stage.run(words);
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code(), said)
}

fn names(stage: &Stage) -> Vec<String> {
    stage.phases().into_keys().collect()
}

#[test]
fn a_service_that_is_named_brings_its_profile() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let output = stage.run(&["run", "--rm", "--quiet", "tool"]);
    assert_eq!(text(&output.stdout), "from the tool\n", "{output:?}");
    assert_eq!(
        names(&stage),
        ["prof-side-1"],
        "what it depends on, and no more"
    );
    // Services of a profile that is not active now are no orphans.
    let (code, told) = ran(&stage, &["up", "-d", "--remove-orphans"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains("side"), "{told}");
    assert_eq!(names(&stage), ["prof-side-1", "prof-web-1"]);
    let (code, told) = ran(&stage, &["up", "-d", "tool"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("prof-tool-1: started"), "{told}");
    let plan = stage.run(&["plan", "--detailed-exitcode", "side"]);
    assert_eq!(plan.status.code(), Some(0), "{plan:?}");
    // Verbs that look only at what is there know them as well.
    let _ = stage.ok(&["stop", "side"]);
    assert_eq!(stage.phases()["prof-side-1"], "stopped");
    let _ = stage.ok(&["start", "side"]);
    assert_eq!(
        stage.ok(&["logs", "--no-log-prefix", "tool"]),
        "from the tool\n"
    );
    let _ = stage.ok(&["rm", "-fs", "tool", "side"]);
    assert_eq!(names(&stage), ["prof-web-1"]);
}

#[test]
fn what_stays_out_is_told_with_its_profile() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    // Its own profile does not bring those of what it depends on.
    for words in [&["up", "-d", "far"][..], &["--profile", "far", "up", "-d"]] {
        let (code, told) = ran(&stage, words);
        assert_eq!(code, Some(1), "{told}");
        assert!(
            told.contains("hint: `--profile tools` takes it in"),
            "{told}"
        );
    }
    let (code, told) = ran(&stage, &["up", "-d", "--scale", "tool=2", "web"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("no profile of service `tool` is active"),
        "{told}"
    );
    assert!(
        told.contains("hint: `--profile tools` takes it in"),
        "{told}"
    );
    assert_eq!(stage.ok(&["ls", "-q"]), "", "nothing was started");
}

#[test]
fn where_nothing_is_there_is_nothing_to_do() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let about: [&[&str]; 3] = [&[], &["web"], &["tool"]];
    let verbs: [&[&str]; 12] = [
        &["stop"],
        &["restart"],
        &["kill"],
        &["rm", "-f"],
        &["rm", "-sf"],
        &["pause"],
        &["unpause"],
        &["down"],
        &["logs"],
        &["ps"],
        &["top"],
        &["images"],
    ];
    for (verb, named) in verbs
        .iter()
        .flat_map(|verb| about.map(|named| (verb, named)))
    {
        let words = [*verb, named].concat();
        let (code, told) = ran(&stage, &words);
        assert_eq!(code, Some(0), "{words:?}: {told}");
        let words = [*verb, &["nobody"]].concat();
        let (code, told) = ran(&stage, &words);
        assert_eq!(code, Some(1), "{words:?}: {told}");
        assert!(told.contains("no service `nobody`"), "{words:?}: {told}");
    }
    let (code, told) = ran(&stage, &["start", "web"]);
    assert_eq!(code, Some(1), "{told}");
    let (code, told) = ran(&stage, &["exec", "-T", "web", "true"]);
    assert_eq!(code, Some(125), "{told}");
    assert!(told.contains("`unmoor up -d web` starts it"), "{told}");
}
