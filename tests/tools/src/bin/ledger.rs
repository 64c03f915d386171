//! `ledger save FILE` and `ledger diff FILE`: host state before and after, equal or not.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use unmoor_tools::ledger::{Diff, Ledger, LedgerError, Options, Section};

const USAGE: &str = "usage: ledger save FILE [--state DIR]... [--without SECTION]...
       ledger diff FILE [--state DIR]... [--without SECTION]... [--wait SECONDS]

save  writes what the host holds now: mounts, namespaces, links, addresses, routes, firewall
      rules, cgroups, listening sockets, our processes, loop devices, settings, files under DIR
diff  compares with now; exit code 0: nothing differs, 1: something does, 2: could not tell";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(request) = Request::parse(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match request.run() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(diff)) => {
            // A closed pipe must not turn the answer into a panic.
            let _ = write!(std::io::stdout(), "{diff}");
            ExitCode::from(u8::from(!diff.is_empty()))
        }
        Err(error) => {
            eprintln!("ledger: {error}{}", cause(&error));
            ExitCode::from(2)
        }
    }
}

fn cause(error: &LedgerError) -> String {
    std::error::Error::source(error)
        .map(|source| format!(": {source}"))
        .unwrap_or_default()
}

struct Request {
    save: bool,
    file: PathBuf,
    options: Options,
    wait: Duration,
}

impl Request {
    fn parse(args: &[String]) -> Option<Self> {
        let (verb, rest) = args.split_first()?;
        let (file, rest) = rest.split_first()?;
        let save = match verb.as_str() {
            "save" => true,
            "diff" => false,
            _ => return None,
        };
        let mut options = Ledger::options();
        let mut wait = Duration::ZERO;
        let mut rest = rest.iter();
        while let Some(flag) = rest.next() {
            let value = rest.next()?;
            match flag.as_str() {
                "--state" => options = options.state_dir(value),
                "--without" => options = options.without(Section::parse(value)?),
                "--wait" => wait = Duration::from_secs(value.parse().ok()?),
                _ => return None,
            }
        }
        Some(Self {
            save,
            file: PathBuf::from(file),
            options,
            wait,
        })
    }

    fn run(&self) -> Result<Option<Diff>, LedgerError> {
        if self.save {
            self.options.take()?.save(&self.file)?;
            return Ok(None);
        }
        let before = load(&self.file, &self.options)?;
        before.settle(self.wait).map(Some)
    }
}

/// A stored ledger does not know what it was asked for; the second call says it again.
fn load(file: &Path, options: &Options) -> Result<Ledger, LedgerError> {
    Ok(Ledger::load(file)?.with_options(options.clone()))
}
