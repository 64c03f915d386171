//! What every implementation of Compose must do, on real replicas: the behaviours that the
//! specification's own suite tried, of which each ends with nothing left.

use std::collections::BTreeSet;

use unmoor_e2e::patience::until;
use unmoor_e2e::stage::{PATIENCE, Stage};

/// One service whose door is open to this machine.
const ENTRY: &str = "\
name: spec
services:
  entry:
    image: probe:1
    command: [serve, --tcp, \"8080\"]
    environment: {WHO: entry}
    ports: [\"8080:8080\"]
    stop_grace_period: 1s
";

/// A second service that can only be reached through the first.
const TARGET: &str = "  target:
    image: probe:1
    command: [serve, --tcp, \"8080\"]
    environment: {WHO: target}
    stop_grace_period: 1s
";

/// Brings a stack up, looks at it, takes it down; nothing of it is left then.
fn lives(compose: &str, files: &[(&str, &str)], look: impl FnOnce(&Stage)) {
    let Some(stage) = Stage::probe(compose) else {
        return;
    };
    for (name, text) in files {
        stage.write(name, text);
    }
    let noted = stage.note();
    let _ = stage.ok(&["up", "-d"]);
    look(&stage);
    let _ = stage.ok(&["down"]);
    assert_eq!(stage.ok(&["ps", "-a", "-q"]), "", "replicas are left");
    stage.nothing_left(&noted);
}

/// What the entry answers from outside, once it answers.
fn asked(stage: &Stage, line: &str) -> String {
    let words: Vec<&str> = ["connect", "127.0.0.1", "8080"]
        .into_iter()
        .chain(line.split(' '))
        .collect();
    until("the entry answers", PATIENCE, || stage.probed(&words))
}

/// What the entry answers once it is this: what it is asked to reach may listen a little later.
fn comes(stage: &Stage, line: &str, wanted: &str) {
    until(line, PATIENCE, || match asked(stage, line) {
        answer if answer == wanted => Ok(()),
        other => Err(other),
    });
}

#[test]
fn a_service_lives_from_up_to_down() {
    let one = "name: spec\nservices:\n  one:\n    image: probe:1\n    stop_grace_period: 1s\n";
    lives(one, &[], |stage| {
        assert_eq!(stage.ok(&["ps", "-q"]), "spec-one-1\n");
        assert_eq!(stage.phases()["spec-one-1"], "running");
        assert!(stage.first_process("probe").is_some(), "it does not run");
    });
}

#[test]
fn services_of_one_network_reach_each_other_by_name() {
    let file = format!(
        "{ENTRY}    networks: [shared]\n{TARGET}    networks: [shared]\nnetworks:\n  shared:\n"
    );
    lives(&file, &[], |stage| {
        comes(stage, "connect target 8080 env WHO", "target\n");
    });
}

#[test]
fn a_name_that_no_service_has_does_not_resolve() {
    let file = format!(
        "{ENTRY}    networks: [shared]\n{TARGET}    networks: [shared]\nnetworks:\n  shared:\n"
    );
    lives(&file, &[], |stage| {
        comes(stage, "connect target 8080 env WHO", "target\n");
        let answer = asked(stage, "connect notatarget 8080 env WHO");
        assert_eq!(answer, "error 2: notatarget does not resolve\n");
    });
}

#[test]
fn a_service_answers_to_its_aliases_on_the_network_that_has_them() {
    let file = format!(
        "{ENTRY}    networks: [shared]\n{TARGET}    networks:\n      shared: {{aliases: [bull, eye]}}\nnetworks:\n  shared:\n"
    );
    lives(&file, &[], |stage| {
        comes(stage, "connect bull 8080 env WHO", "target\n");
        comes(stage, "connect eye 8080 env WHO", "target\n");
    });
}

#[test]
fn services_of_different_networks_do_not_reach_each_other() {
    let file = format!(
        "{ENTRY}    networks: [one]\n{TARGET}    networks: [other]\nnetworks:\n  one:\n  other:\n"
    );
    lives(&file, &[], |stage| {
        let answer = asked(stage, "connect target 8080 env WHO");
        assert_eq!(answer, "error 2: target does not resolve\n");
        // Nor by its address, which is right: another on that network is reached by its own.
        let address = |service: &str| {
            let list = stage.json(&["ps", "--format", "json", service]);
            let addresses = list[0]["addresses"].as_object().expect("addresses");
            let first = addresses
                .values()
                .next()
                .and_then(|address| address.as_str());
            first.expect("an address").to_owned()
        };
        let own = format!("connect {} 8080 env WHO", address("entry"));
        comes(stage, &own, "entry\n");
        let far = asked(
            stage,
            &format!("connect {} 8080 env WHO", address("target")),
        );
        assert!(far.starts_with("error 3: "), "{far}");
    });
}

#[test]
fn a_file_of_this_machine_is_read_inside() {
    let file = format!("{ENTRY}    volumes: [./note.txt:/volumes/note.txt]\n");
    lives(&file, &[("note.txt", "MY VOLUME")], |stage| {
        assert_eq!(asked(stage, "read /volumes/note.txt"), "MY VOLUME");
    });
}

#[test]
fn a_secret_of_a_file_is_read_inside() {
    let file = format!(
        "{ENTRY}    secrets:\n      - source: key\n        target: /volumes/key.txt\nsecrets:\n  key:\n    file: ./key.txt\n"
    );
    lives(&file, &[("key.txt", "MY SECRET")], |stage| {
        assert_eq!(asked(stage, "read /volumes/key.txt"), "MY SECRET");
    });
}

#[test]
fn a_config_of_a_file_is_read_inside() {
    let file = format!(
        "{ENTRY}    configs:\n      - source: rules\n        target: /volumes/rules.txt\nconfigs:\n  rules:\n    file: ./rules.txt\n"
    );
    lives(&file, &[("rules.txt", "MY CONFIG")], |stage| {
        assert_eq!(asked(stage, "read /volumes/rules.txt"), "MY CONFIG");
    });
}

#[test]
fn a_datagram_port_is_published() {
    let file = "\
name: spec
services:
  entry:
    image: probe:1
    command: [serve, --tcp, \"8080\", --udp, \"10001\"]
    environment: {WHO: entry}
    stop_grace_period: 1s
    ports:
      - 8080:8080/tcp
      - target: 10001
        published: 10001
        protocol: udp
        mode: host
";
    lives(file, &[], |stage| {
        let words = ["udp", "127.0.0.1", "10001", "env", "WHO"];
        let answer = until("an answer", PATIENCE, || stage.probed(&words));
        assert_eq!(answer, "entry\n");
        assert_eq!(asked(stage, "env WHO"), "entry\n");
    });
}

#[test]
fn as_many_replicas_run_as_the_file_says() {
    let file = format!("{ENTRY}{TARGET}    deploy:\n      replicas: 3\n");
    lives(&file, &[], |stage| {
        let answer = asked(stage, "resolve tasks.target");
        let addresses: BTreeSet<&str> = answer.lines().collect();
        assert_eq!(addresses.len(), 3, "{answer}");
        let names: BTreeSet<String> = addresses
            .iter()
            .map(|address| {
                let line = format!("connect {address} 8080 hostname");
                until("it answers", PATIENCE, || match asked(stage, &line) {
                    name if name.starts_with("error") => Err(name),
                    name => Ok(name),
                })
            })
            .collect();
        assert_eq!(names.len(), 3, "not replicas of their own: {names:?}");
    });
}
