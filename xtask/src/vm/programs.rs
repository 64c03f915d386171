//! The test programs of the packages that touch the kernel: built here, run in the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::{announce, cargo, output, target_dir};
use crate::test::FAILPOINTS;
use crate::{Failure, Outcome};

/// Names the file that lists the programs, one a line, each after the folder it runs in.
pub(crate) const LIST: &str = "UNMOOR_TEST_PROGRAMS";
/// Folders of the packages whose tests ask the kernel.
const FOLDERS: [&str; 5] = [
    "runtime-local",
    "runtime-local/image",
    "tests/e2e",
    "tests/shim",
    "tests/tools",
];

/// Where the list is.
pub(super) fn list() -> PathBuf {
    target_dir().join("vm/programs")
}

/// Builds all of the workspace, as the tests on the host do, and writes the list.
pub(super) fn build() -> Outcome {
    let mut command = cargo(&["test", "--no-run", "--workspace", "--locked"]);
    command.args(["--features", FAILPOINTS]);
    command.arg("--message-format=json-render-diagnostics");
    announce(&command);
    let text: String = output(&mut command)?.lines().filter_map(entry).collect();
    let path = list();
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&path, text))
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
}

fn entry(line: &str) -> Option<String> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_test = message["profile"]["test"].as_bool()?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let program = message["executable"].as_str().filter(|_| is_test)?;
    FOLDERS.iter().find(|name| folder.ends_with(name))?;
    Some(format!("{}\t{program}\n", folder.display()))
}

/// A command for each program of a list.
pub(crate) fn commands(list: &Path) -> Result<Vec<Command>, Failure> {
    let text = fs::read_to_string(list)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", list.display())))?;
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    Ok(lines
        .map(|(folder, program)| {
            let mut command = Command::new(program);
            // Nothing here keeps tests apart that must not meet.
            command.arg("--test-threads=1").current_dir(folder);
            command
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_listed() {
        let message = |folder: &str, test: bool, executable: Option<&str>| {
            let message = serde_json::json!({
                "reason": "compiler-artifact",
                "manifest_path": format!("/w/{folder}/Cargo.toml"),
                "profile": { "test": test },
                "executable": executable,
            });
            entry(&message.to_string())
        };
        let program = Some("/w/target/a-1");
        let expected = Some("/w/tests/e2e\t/w/target/a-1\n".to_owned());
        assert_eq!(message("tests/e2e", true, program), expected);
        assert_eq!(message("tests/e2e", false, program), None);
        assert_eq!(message("tests/e2e", true, None), None);
        assert_eq!(
            message("core", true, program),
            None,
            "no business of a kernel"
        );
        assert_eq!(entry(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
