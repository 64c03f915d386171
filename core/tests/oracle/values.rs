//! What may stand under each key of the format, and the files and variables around it.

/// A key with its usual values and its odd ones.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) usual: Vec<&'static str>,
    pub(crate) odd: Vec<&'static str>,
}

/// The rows of a section of the table.
pub(crate) fn rows(section: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut inside = false;
    for line in include_str!("values.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix("= ") {
            inside = title == section;
        } else if inside && (line.starts_with('+') || line.starts_with('-')) {
            let row = rows.last_mut().expect("a key before its values");
            let value = line[1..].trim_start();
            match line.starts_with('+') {
                true => row.usual.push(value),
                false => row.odd.push(value),
            }
        } else if inside {
            rows.push(Row {
                key: line,
                usual: Vec::new(),
                odd: Vec::new(),
            });
        }
    }
    rows
}

/// Files beside the Compose files.
pub(crate) const FILES: &[(&str, &str)] = &[
    (
        "e1.env",
        "# c\nexport FA=1 # tail\nFB='x $A # y'\nFC=\"a\\nb ${FA} \\$A\"\nFD=${FA}-$B\nA=fromfile\n",
    ),
    (
        "e2.env",
        "FA=2\nFE:yaml\nB\nGONE\nFG=\nFH = spaced \nFM=\"two\nlines\"\nFI='it\\'s'\nFJ=${U:-d}\nFK=\"q\\\"q\"\n",
    ),
    ("raw.env", "RA=\"q\" # $X\nRB\nRC= x \n"),
    ("bad.env", "A B=1\n"),
    ("l.labels", "la=1\nlb=\"x ${la}\"\n"),
    ("s.txt", "secret\n"),
    ("c.txt", "config\n"),
    (".env", "D=dot\nN=8080\n"),
    ("sub/e1.env", "FA=sub\n"),
    ("inc/.env", "I=inc\nB=other\n"),
];

/// The variables of the process.
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("A", "1"),
    ("B", "b"),
    ("E", ""),
    ("T", "true"),
    ("HOME", "/home/me"),
];
