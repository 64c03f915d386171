//! The spanned tree: places, merges, duplicates and bounds.

use super::*;

fn tree(text: &str) -> Node {
    let mut documents = parse(0, text).expect("valid YAML");
    documents.pop().unwrap_or_else(|| panic!("no document"))
}

fn refused(text: &str) -> YamlError {
    parse(0, text).expect_err("must be refused")
}

/// The tree on one line, without places.
fn flat(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => scalar.text.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(flat).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let entries = entries
                .iter()
                .map(|e| format!("{}:{}", e.key, flat(&e.value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
    }
}

#[test]
fn places_count_from_one() {
    let root = tree("a:\n  bc: [x, y]\n");
    let entry = &root.get("a").and_then(Node::as_map).expect("a mapping")[0];
    assert_eq!((entry.spot.line, entry.spot.column), (2, 3));
    let Value::List(items) = &entry.value.value else {
        panic!("a list");
    };
    assert_eq!((items[1].spot.line, items[1].spot.column), (2, 11));
}

#[test]
fn merge_keys_are_shallow_and_earlier_ones_win() {
    let text = "a: &a {x: 1, e: {p: 1}}\nb: &b {x: 2, y: 2}\nc:\n  <<: [*a, *b]\n  e: {q: 2}\n\
                d: {<<: *b, y: 3}\n";
    let root = tree(text);
    assert_eq!(flat(root.get("c").expect("c")), "{e:{q:2},x:1,y:2}");
    assert_eq!(flat(root.get("d").expect("d")), "{y:3,x:2}");
}

#[test]
fn a_duplicate_key_names_the_first_line() {
    let error = refused("a: 1\nb: 2\na: 3\n");
    assert_eq!(error.text, "the key `a` stands at line 1 already");
    assert_eq!((error.spot.line, error.spot.column), (3, 1));
}

#[test]
fn tags_of_compose_are_kept_and_foreign_ones_refused() {
    let root = tree("a: !reset null\nb: !override [x]\nc: !!str 5\n");
    assert_eq!(root.get("a").map(|n| n.tag), Some(Tag::Reset));
    assert_eq!(root.get("b").map(|n| n.tag), Some(Tag::Override));
    assert_eq!(root.get("c").and_then(Node::as_text), Some("5"));
    assert!(
        refused("a: !!python/object:os.system x")
            .text
            .contains("python")
    );
}

#[test]
fn alias_bombs_depth_and_circles_end_early() {
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (last, next) in ('a'..='i').zip('b'..='j') {
        let many = vec![format!("*{last}"); 9].join(",");
        bomb.push_str(&format!("{next}: &{next} [{many}]\n"));
    }
    let work = unmoor_tools::Work::new();
    assert!(refused(&bomb).text.contains("aliases included"));
    assert!(refused(&"[".repeat(100_000)).text.contains("levels deep"));
    let blocks: String = (0..2000).map(|n| " ".repeat(n) + "a:\n").collect();
    assert!(refused(&blocks).text.contains("levels deep"));
    assert!(refused("a: &a [*a]").text.contains("part of what"));
    assert!(refused("a: *b").text.contains("no anchor"));
    let anchors: String = (0..200_000).map(|n| format!("a{n}: &b{n} x\n")).collect();
    assert!(refused(&anchors).text.contains("aliases included"));
    assert!(refused(&" ".repeat(MAX_TEXT + 1)).text.contains("larger"));
    assert!(work.done() < std::time::Duration::from_secs(5));
}

#[test]
fn a_text_holds_any_number_of_documents() {
    let count = |text: &str| parse(0, text).expect("valid YAML").len();
    assert_eq!(count("a: 1\n---\nb: 2\n"), 2);
    assert_eq!(count("---\na: 1\n...\n"), 1);
    assert_eq!(count("# nothing\n"), 0);
    assert_eq!(flat(&tree("a: 1\n---\nb: 2\n")), "{b:2}");
}

#[test]
fn keys_must_be_strings() {
    for text in ["80: x", "true: x", "~: x", "[a]: x", "? {a: b}\n: c"] {
        assert!(refused(text).text.contains("key"), "{text}");
    }
    assert_eq!(flat(&tree("'80': x\nyes: y")), "{80:x,yes:y}");
}

#[test]
fn tabs_and_line_ends() {
    assert!(refused("a:\n\tb: 1\n").text.contains("tab"));
    assert_eq!(flat(&tree("a: 1\r\nb: [x]\r\n")), "{a:1,b:[x]}");
    assert_eq!(flat(&tree("\u{feff}a: 1\n")), "{a:1}");
}

#[test]
fn a_quote_that_is_not_closed_is_told_where_it_opens() {
    for (text, place) in [
        ("a:\n  b: \"nginx\n  c: x\n", (2, 6)),
        ("a:\n  b: \"nginx\n", (2, 6)),
        ("a:\n  b: 'x\n  c:\n    d: 'b'\n", (2, 6)),
        ("a:\n  b: 'é\n    more\n\n  c:\n    - \"80:80\"\n", (2, 6)),
        ("a: \"x", (1, 4)),
    ] {
        let error = super::parse(0, text).expect_err("invalid");
        assert_eq!((error.spot.line, error.spot.column), place, "{text}");
        assert_eq!(error.text, "this quote is not closed", "{text}");
    }
    assert!(super::parse(0, "a:\n  b: \"x\n    y\"\n  c: x\n").is_ok());
}

#[test]
fn what_is_merged_through_an_alias_is_told_where_it_is_merged() {
    for (text, place) in [
        ("x: &a 1\ny:\n  <<: *a\n", (3, 3)),
        ("x: &a [1]\ny:\n  <<: *a\n", (3, 3)),
        ("x: &a 1\ny:\n  <<: [{b: 1}, *a]\n", (3, 3)),
        ("y:\n  <<: 1\n", (2, 7)),
        ("y:\n  <<: [{b: 1}, 2]\n", (2, 16)),
    ] {
        let error = super::parse(0, text).expect_err("invalid");
        assert_eq!((error.spot.line, error.spot.column), place, "{text}");
    }
}
