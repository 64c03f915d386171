//! Sets of small Compose files over all keys, made from a seed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::values::{FILES, Row, rows};

/// What one comparison needs.
#[derive(Debug)]
pub(crate) struct Case {
    /// Files by their path in the directory.
    pub(crate) files: BTreeMap<String, String>,
    /// The arguments before `config`.
    pub(crate) before: Vec<String>,
    /// The arguments behind it.
    pub(crate) after: Vec<String>,
}

/// Numbers from a seed.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).expect("below a usize")
    }

    /// True `percent` times in a hundred.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }
}

/// The case of a seed.
pub(crate) fn case(seed: u64) -> Case {
    let any = rows("odd").into_iter().next().expect("a row").usual;
    let mut maker = Maker {
        random: Random(seed),
        odd: 0,
        service: rows("service"),
        top: rows("top"),
        resources: rows("resources"),
        any,
    };
    maker.odd = [0, 0, 2, 8][maker.random.below(4)];
    maker.case()
}

struct Maker {
    random: Random,
    /// How many values in a hundred are odd ones.
    odd: usize,
    service: Vec<Row>,
    top: Vec<Row>,
    resources: Vec<Row>,
    /// Texts that are put in the place of any value.
    any: Vec<&'static str>,
}

impl Maker {
    fn case(&mut self) -> Case {
        let mut files: BTreeMap<String, String> = FILES
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        let mut main = self.file(true);
        if self.random.chance(12) {
            self.extend(&mut main, &mut files);
        }
        if self.random.chance(10) {
            self.include(&mut main, &mut files);
        }
        if self.random.chance(8) {
            let second = self.over();
            write!(main, "---\n{second}").expect("a string");
        }
        files.insert("compose.yaml".to_owned(), main);
        let mut before = vec!["-f".to_owned(), "compose.yaml".to_owned()];
        if self.random.chance(30) {
            files.insert("over.yaml".to_owned(), self.over());
            before.extend(["-f".to_owned(), "over.yaml".to_owned()]);
        }
        if self.random.chance(25) {
            let profile = self.random.pick(&["p1", "p2", "*"]);
            before.extend(["--profile".to_owned(), profile.to_owned()]);
        }
        if self.random.chance(5) {
            before.extend(["--project-directory".to_owned(), "sub".to_owned()]);
        }
        if self.random.chance(5) {
            before.extend(["-p".to_owned(), "given".to_owned()]);
        }
        let mut after = self.flags();
        if before.iter().any(|word| word == "--project-directory") {
            // Docker compose takes such paths from where it runs.
            after.retain(|flag| flag != "--no-path-resolution");
        }
        Case {
            files,
            before,
            after,
        }
    }

    fn flags(&mut self) -> Vec<String> {
        let mut after = Vec::new();
        let flags = [
            ("--no-interpolate", 12),
            ("--no-normalize", 5),
            ("--no-path-resolution", 8),
            ("--no-consistency", 8),
        ];
        for (flag, percent) in flags {
            if self.random.chance(percent) {
                after.push(flag.to_owned());
            }
        }
        if self.random.chance(4) && after.is_empty() {
            after.push(self.random.pick(&["a", "b"]).to_owned());
        }
        after
    }

    /// A value of a row, now and then an odd one.
    fn value(&mut self, row: &Row) -> &'static str {
        let may_be_odd = !row.odd.is_empty();
        if row.usual.is_empty() || (may_be_odd && self.random.chance(self.odd)) {
            return self.random.pick(&row.odd);
        }
        if self.odd > 0 && self.random.chance(self.odd / 2) {
            let any = std::mem::take(&mut self.any);
            let value = self.random.pick(&any);
            self.any = any;
            return value;
        }
        self.random.pick(&row.usual)
    }

    /// A value of a resource, written as YAML.
    fn resource(&mut self, section: &str) -> &'static str {
        let rows = std::mem::take(&mut self.resources);
        let row = rows.iter().find(|row| row.key == section);
        let row = row.expect("a section of the table");
        let value = match !row.odd.is_empty() && self.random.chance(self.odd) {
            true => self.random.pick(&row.odd),
            false => self.random.pick(&row.usual),
        };
        self.resources = rows;
        value
    }

    fn service(&mut self, most: usize, needs_image: bool) -> String {
        let table = std::mem::take(&mut self.service);
        let mut text = String::new();
        let mut seen = Vec::new();
        if needs_image && !self.random.chance(2) {
            text.push_str("    image: x\n");
            seen.push("image");
        }
        for _ in 0..=self.random.below(most) {
            let row = &table[self.random.below(table.len())];
            let key = row.key;
            if seen.contains(&key) || (row.usual.is_empty() && !self.random.chance(self.odd)) {
                continue;
            }
            seen.push(key);
            let value = self.value(row);
            writeln!(text, "    {key}: {value}").expect("a string");
        }
        if text.is_empty() {
            text.push_str("    image: x\n");
        }
        self.service = table;
        text
    }

    fn file(&mut self, whole: bool) -> String {
        let mut text = String::new();
        let top = std::mem::take(&mut self.top);
        for row in &top {
            let percent = if row.usual.is_empty() {
                self.odd / 4
            } else {
                8
            };
            if self.random.chance(percent) {
                let value = self.value(row);
                writeln!(text, "{}: {value}", row.key).expect("a string");
            }
        }
        self.top = top;
        let shared = whole && self.random.chance(10);
        if shared {
            let base = self.service(2, false);
            write!(
                text,
                "x-base: &base\n{}",
                base.replace("\n    ", "\n  ").replacen("    ", "  ", 1)
            )
            .expect("a string");
        }
        text.push_str("services:\n");
        for name in ["a", "b"] {
            writeln!(text, "  {name}:").expect("a string");
            if shared && self.random.chance(60) {
                text.push_str("    <<: *base\n");
            }
            let most = if name == "a" { 6 } else { 2 };
            text.push_str(&self.service(most, true));
        }
        self.resources(&mut text);
        text
    }

    fn resources(&mut self, text: &mut String) {
        let sections = [
            ("networks", "n"),
            ("volumes", "v"),
            ("secrets", "s"),
            ("configs", "c"),
            ("models", "m"),
        ];
        for (section, name) in sections {
            let value = self.resource(section);
            writeln!(text, "{section}:\n  {name}: {value}").expect("a string");
        }
        if self.random.chance(5) {
            let value = self.resource("networks");
            let line = format!("networks:\n  default: {value}\n");
            *text = text.replace("networks:\n", &line);
        }
    }

    /// A file to lay over another: a few keys, some of them marked.
    fn over(&mut self) -> String {
        let mut text = "services:\n  a:\n".to_owned();
        let keys = self.service(5, false);
        for line in keys.lines() {
            let mark = match self.random.below(12) {
                0 => "!reset ",
                1 => "!override ",
                _ => "",
            };
            let (key, value) = line.split_once(": ").unwrap_or((line, ""));
            writeln!(text, "{key}: {mark}{value}").expect("a string");
        }
        if self.random.chance(20) {
            let service = self.service(3, true);
            write!(text, "  d:\n{service}").expect("a string");
        }
        if self.random.chance(30) {
            let usual = self.resource("networks");
            writeln!(text, "networks:\n  n: {usual}").expect("a string");
        }
        if self.random.chance(20) {
            let usual = self.resource("volumes");
            writeln!(text, "volumes:\n  v: {usual}").expect("a string");
        }
        text
    }

    fn extend(&mut self, main: &mut String, files: &mut BTreeMap<String, String>) {
        let target = match self.random.below(4) {
            0 => "b",
            1 => "{service: b}",
            2 => "{service: base, file: sub/ext.yaml}",
            _ => "{service: top, file: sub/ext.yaml}",
        };
        let line = format!("  a:\n    extends: {target}\n");
        *main = main.replacen("  a:\n", &line, 1);
        let (base, top) = (self.service(4, true), self.service(3, false));
        let text = format!("services:\n  base:\n{base}  top:\n    extends: base\n{top}");
        files.insert("sub/ext.yaml".to_owned(), text);
    }

    fn include(&mut self, main: &mut String, files: &mut BTreeMap<String, String>) {
        let item = self.random.pick(&[
            "[inc/in.yaml]",
            "[{path: inc/in.yaml}]",
            "[{path: [inc/in.yaml, inc/more.yaml]}]",
            "[{path: inc/in.yaml, project_directory: sub}]",
            "[{path: inc/in.yaml, env_file: e1.env}]",
            "[{path: ./inc/in.yaml, env_file: [e1.env, raw.env]}]",
        ]);
        *main = format!("include: {item}\n{main}");
        let service = self.service(4, true);
        let text = format!(
            "services:\n  i:\n{service}  j:\n    image: \"${{I:-none}}:${{B}}\"\n    volumes: [./here:/h, \"iv:/v\"]\nvolumes:\n  iv:\n"
        );
        // What the included file names must be in it.
        let text = match self.random.chance(80) {
            true => format!("{text}  v:\nnetworks:\n  n:\n"),
            false => text,
        };
        files.insert("inc/in.yaml".to_owned(), text);
        let more = self.service(2, false);
        files.insert(
            "inc/more.yaml".to_owned(),
            format!("services:\n  j:\n{more}"),
        );
    }
}
