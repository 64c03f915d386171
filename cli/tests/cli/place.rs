//! The built program in a directory of its own, with an environment of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A directory to run in.
#[derive(Debug)]
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("shop")
            .tempdir()
            .expect("a directory");
        Self { directory }
    }

    /// A place with this Compose file.
    pub(crate) fn with(compose: &str) -> Self {
        let place = Self::new();
        place.write("compose.yaml", compose);
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("a file");
    }

    /// The program, on the model backend, with nothing of this test's environment.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unmoor"));
        command
            .env_clear()
            .env("UNMOOR_BACKEND", "sim:")
            .env("HOME", self.path())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .args(words);
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        ran(&mut self.command(words))
    }
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

pub(crate) const SHOP: &str = "\
name: shop
services:
  web:
    image: nginx:1.27
    ports: [\"8080:80\"]
    depends_on: [api]
  api:
    image: shop/api:1
    environment:
      LEVEL: ${LEVEL:-info}
    deploy:
      replicas: 2
    volumes: [data:/data]
volumes:
  data:
";
