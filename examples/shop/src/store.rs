//! `store`: keys and numbers in a file on a volume; what it has acknowledged is on the disk.
//!
//! `GET /keys/NAME` answers the number (0 when there is none), `POST /keys/NAME` adds one to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use shop::server::{Answer, Request, serve};

const PORT: u16 = 7000;

fn main() -> ExitCode {
    shop::main(|| {
        let dir = std::env::var("DATA_DIR").unwrap_or_else(|_| "/data".to_owned());
        let store = Store::open(Path::new(&dir))?;
        serve("store", &shop::listen_address(PORT), move |request| {
            store.answer(request)
        })
    })
}

struct Store {
    dir: PathBuf,
    numbers: Mutex<BTreeMap<String, u64>>,
}

impl Store {
    fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let text = match fs::read_to_string(dir.join("numbers")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let numbers = parse(&text).ok_or_else(|| io::Error::other("the numbers are damaged"))?;
        Ok(Self {
            dir: dir.to_owned(),
            numbers: Mutex::new(numbers),
        })
    }

    fn answer(&self, request: &Request) -> io::Result<Answer> {
        let Some(key) = request
            .path
            .strip_prefix("/keys/")
            .filter(|key| is_key(key))
        else {
            return Ok(Answer::text(404, "want /keys/NAME\n"));
        };
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        match request.method.as_str() {
            "GET" => Ok(Answer::text(
                200,
                numbers.get(key).unwrap_or(&0).to_string(),
            )),
            "POST" => {
                let mut next = numbers.clone();
                let number = next.entry(key.to_owned()).or_default();
                *number += 1;
                let answer = Answer::text(200, number.to_string());
                self.write(&next)?;
                *numbers = next;
                Ok(answer)
            }
            _ => Ok(Answer::text(400, "want GET or POST\n")),
        }
    }

    /// Writes beside the old file, then replaces it: a crash leaves one of the two, whole.
    fn write(&self, numbers: &BTreeMap<String, u64>) -> io::Result<()> {
        let fresh = self.dir.join("numbers.new");
        let mut file = File::create(&fresh)?;
        for (key, number) in numbers {
            writeln!(file, "{key} {number}")?;
        }
        file.sync_all()?;
        fs::rename(&fresh, self.dir.join("numbers"))?;
        // The rename itself is in the directory.
        File::open(&self.dir)?.sync_all()
    }
}

fn is_key(key: &str) -> bool {
    let fits = |char: char| char.is_ascii_alphanumeric() || char == '-';
    !key.is_empty() && key.len() <= 64 && key.chars().all(fits)
}

fn parse(text: &str) -> Option<BTreeMap<String, u64>> {
    let line = |line: &str| {
        let (key, number) = line.split_once(' ')?;
        Some((key.to_owned(), number.parse().ok()?))
    };
    text.lines().map(line).collect()
}
