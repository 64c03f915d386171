//! What is no plan, what was written by another version, and what was changed, is told apart.

use super::*;
use crate::name::BlobName;

fn secret() -> BlobId {
    BlobId {
        kind: BlobKind::Secret,
        name: BlobName::parse("key").expect("valid name"),
    }
}

fn stored() -> StoredPlan {
    let name = StackName::parse("shop").expect("valid name");
    let mut file = Stack::new(name.clone());
    let source = BlobSource::Stored("f".to_owned());
    file.secrets.insert(secret().name, Blob { source });
    let mut stored = StoredPlan {
        unmoor_plan: VERSION,
        made_by: "0".to_owned(),
        backend: "sim:".to_owned(),
        stack: name,
        plan: "p".to_owned(),
        facts: "f".to_owned(),
        record: None,
        entries: Vec::new(),
        gaps: Vec::new(),
        notes: vec!["a note".to_owned()],
        options: PlanOptions::default(),
        file,
        scale: BTreeMap::new(),
        images: BTreeMap::new(),
        contents: BTreeMap::from([(secret(), SecretBytes::new("hunter2").fingerprint())]),
        steps: String::new(),
        digest: String::new(),
        supplied: BTreeMap::new(),
    };
    stored.digest = digest(&stored.value());
    stored
}

fn refusal(text: &str) -> ErrorKind {
    let error = StoredPlan::decode(text.as_bytes()).expect_err("it is refused");
    error.kind()
}

#[test]
fn a_plan_reads_back_however_it_is_laid_out() {
    let plan = stored();
    let text = String::from_utf8(plan.encode()).expect("text");
    assert_eq!(StoredPlan::decode(text.as_bytes()).expect("it reads"), plan);
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let Value::Object(fields) = value else {
        panic!("an object");
    };
    let backwards: serde_json::Map<String, Value> = fields.into_iter().rev().collect();
    let compact = serde_json::to_vec(&backwards).expect("JSON");
    assert_eq!(StoredPlan::decode(&compact).expect("it reads"), plan);
}

#[test]
fn what_is_no_plan_is_told_apart() {
    for text in [
        "",
        "nothing",
        "[]",
        "3",
        "{}",
        "{\"unmoor_plan\": \"1\"}",
        "services: {}",
    ] {
        assert_eq!(refusal(text), ErrorKind::InvalidSpec, "{text}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(refusal(&deep), ErrorKind::InvalidSpec);
}

#[test]
fn another_version_is_unsupported() {
    let text = String::from_utf8(stored().encode()).expect("text");
    for version in ["0", "2", "18446744073709551615"] {
        let other = text.replace("\"unmoor_plan\": 1", &format!("\"unmoor_plan\": {version}"));
        assert_eq!(refusal(&other), ErrorKind::Unsupported, "{version}");
    }
}

#[test]
fn every_change_of_a_plan_is_seen() {
    let text = String::from_utf8(stored().encode()).expect("text");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    for key in value.as_object().expect("an object").keys() {
        if key == "unmoor_plan" {
            continue;
        }
        let mut changed = value.clone();
        changed[key] = Value::from("other");
        assert_eq!(refusal(&changed.to_string()), ErrorKind::Corrupt, "{key}");
        changed.as_object_mut().expect("an object").remove(key);
        assert_eq!(
            refusal(&changed.to_string()),
            ErrorKind::Corrupt,
            "no {key}"
        );
    }
    let mut more = value.clone();
    more["more"] = Value::from(1);
    assert_eq!(refusal(&more.to_string()), ErrorKind::Corrupt);
    // One that somebody signed again is refused where it cannot be understood.
    let mut odd = value;
    odd["scale"] = Value::from("many");
    odd["digest"] = Value::from(digest(&odd));
    assert_eq!(refusal(&odd.to_string()), ErrorKind::Corrupt);
}

#[test]
fn a_content_is_supplied_from_the_stack_and_must_be_the_same() {
    let mut plan = stored();
    assert_eq!(plan.lacks(), [secret()]);
    let nothing = ObservedStack::default();
    let error = plan.contents(&nothing).expect_err("it is not at hand");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let mut there = ObservedStack::default();
    there.blobs.clone_from(&plan.contents);
    assert!(plan.contents(&there).expect("none is needed").is_empty());
    let of = |content: &str| {
        let mut stack = plan.file.clone();
        let source = BlobSource::Inline(SecretBytes::new(content));
        stack.secrets.insert(secret().name, Blob { source });
        stack
    };
    let (good, other) = (of("hunter2"), of("hunter3"));
    let mut wrong = plan.clone();
    wrong.supply(&other);
    let error = wrong.contents(&nothing).expect_err("it is another");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    plan.supply(&good);
    assert_eq!(plan.lacks(), []);
    let found = plan.contents(&nothing).expect("it is at hand");
    assert_eq!(found[&secret()].reveal(), b"hunter2");
    assert!(!String::from_utf8_lossy(&plan.encode()).contains("hunter2"));
}
