//! Verbs about some services: what is wrong with the others is no hindrance.

use serde_json::Value;

use crate::place::{Place, Ran};

/// One service that runs, one that needs it, and two that nothing here can run.
const MIXED: &str = "\
name: mixed
services:
  web:
    image: bb:1
  page:
    image: bb:1
    depends_on: [web]
  built:
    build: .
  bare:
    image: bb:1
    pid: host
    volumes: [far:/far]
  needy:
    image: bb:1
    depends_on: [bare]
volumes:
  far: {driver: nfs}
";

/// True if the file was no hindrance: who starts something came as far as its image, which a model
/// of its own does not have.
fn is_taken(words: &[&str], ran: &Ran) -> bool {
    match words[0] {
        "up" | "create" | "plan" | "run" => {
            ran.err.contains("resolve image bb:1: it is not loaded")
        }
        _ => ran.code == Some(0),
    }
}

#[test]
fn a_service_that_cannot_be_run_hinders_no_other() {
    let place = Place::with(MIXED);
    for words in [
        &["up", "-d", "web"][..],
        &["up", "-d", "page"],
        &["up", "-d", "--no-deps", "needy"],
        &["create", "page"],
        &["plan", "page"],
        &["run", "--rm", "--no-deps", "needy", "true"],
        &["ps"],
        &["down"],
        &["stop", "web"],
        &["logs"],
    ] {
        let ran = place.run(words);
        assert!(!ran.err.contains("built"), "{words:?}: {}", ran.err);
        assert!(!ran.err.contains("pid"), "{words:?}: {}", ran.err);
        assert!(is_taken(words, &ran), "{words:?}: {}", ran.err);
    }
    for (words, field, code) in [
        (&["up", "-d"][..], "services.built.build: ", 1),
        (&["up", "-d", "web", "built"], "services.built.build: ", 1),
        (&["up", "-d", "needy"], "services.bare.pid: ", 1),
        (&["up", "-d", "bare"], "volumes.far.driver: ", 1),
        (&["plan", "needy"], "volumes.far.driver: ", 1),
        (
            &["run", "--rm", "needy", "true"],
            "services.bare.pid: ",
            125,
        ),
        (
            &["run", "built", "true"],
            "compose.yaml:9:5: services.built.build: ",
            125,
        ),
    ] {
        let ran = place.run(words);
        assert!(ran.err.contains(field), "{words:?}: {}", ran.err);
        assert_eq!(ran.code, Some(code), "{words:?}: {}", ran.err);
    }
}

#[test]
fn check_looks_at_the_services_that_are_named() {
    let place = Place::with(MIXED);
    let fields = |words: &[&str]| {
        let ran = place.run(&[&["check", "--format", "json"], words].concat());
        let list: Value = serde_json::from_str(&ran.out).expect("JSON");
        let rows = list.as_array().expect("a list").iter();
        let fields = rows.map(|row| row["field"].as_str().expect("a text").to_owned());
        (ran.code, fields.collect::<Vec<_>>())
    };
    assert_eq!(fields(&["page"]), (Some(0), vec![]));
    let (code, said) = fields(&["needy"]);
    assert_eq!(code, Some(1));
    assert_eq!(said, ["services.bare.pid", "volumes.far.driver"]);
    let (code, said) = fields(&[]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains(&"services.built.build".to_owned()),
        "{said:?}"
    );
    let nobody = place.run(&["check", "nobody"]);
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.err.contains("no service `nobody`"), "{}", nobody.err);
}

#[test]
fn check_judges_what_can_be_read_beside_what_is_wrong() {
    let place = Place::with(
        "services:\n  a:\n    image: x\n    gpus: all\n    user: [1]\n    cpuset: '1'\n  b: {imge: x}\n",
    );
    let ran = place.run(&["check", "--format", "json"]);
    assert_eq!(ran.code, Some(1));
    let list: Value = serde_json::from_str(&ran.out).expect("JSON");
    let of = |field: &str| {
        let rows = list.as_array().expect("a list").iter();
        let mut rows = rows.filter(|row| row["field"] == field);
        rows.next().map(|row| row["verdict"].clone())
    };
    assert_eq!(of("services.a.gpus"), Some("refused".into()));
    assert_eq!(of("services.a.cpuset"), Some("ignored".into()));
    assert_eq!(of("services.a.user"), None);
    assert!(
        ran.err.contains("compose.yaml:5:5: services.a.user: "),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("unknown key `imge`"), "{}", ran.err);
    assert!(!ran.err.contains("gpus"), "said twice: {}", ran.err);
}

/// Two that are meant to run one at a time.
const ALTERNATIVES: &str = "\
name: alt
services:
  cpu:
    image: bb:1
    container_name: model
    ports:
      - \"7777:1\"
  gpu:
    image: bb:1
    container_name: model
    ports: [\"7777:1\"]
";

#[test]
fn alternatives_of_one_port_and_name_are_refused_only_together() {
    let place = Place::with(ALTERNATIVES);
    for words in [
        &["up", "-d", "cpu"][..],
        &["up", "-d", "gpu"],
        &["plan", "gpu"],
        &["ps"],
        &["logs"],
        &["stop"],
        &["down"],
        &["check", "gpu"],
    ] {
        let ran = place.run(words);
        assert!(is_taken(words, &ran), "{words:?}: {}", ran.err);
    }
    for words in [&["up", "-d"][..], &["plan"], &["up", "-d", "cpu", "gpu"]] {
        let ran = place.run(words);
        assert_eq!(ran.code, Some(1), "{words:?}: {}", ran.err);
        let said = "services.gpu.ports: port 7777/tcp is published by `cpu` too";
        assert!(ran.err.contains(said), "{}", ran.err);
        assert!(ran.err.contains("compose.yaml:11:13: "), "{}", ran.err);
        assert!(ran.err.contains("and: compose.yaml:7:9"), "{}", ran.err);
    }
    let check = place.run(&["check"]);
    assert_eq!(check.code, Some(1), "{}", check.err);
    assert!(
        check.out.contains("is published by `cpu` too"),
        "{}",
        check.out
    );
    assert!(
        check.out.contains("`model` is the name of `cpu` already"),
        "{}",
        check.out
    );
    // As docker compose has it, whose `config` looks at names and not at ports.
    let config = place.run(&["config", "-q"]);
    assert_eq!(config.code, Some(1), "{}", config.err);
    assert_eq!(place.run(&["config", "-q", "gpu"]).code, Some(0));
}
