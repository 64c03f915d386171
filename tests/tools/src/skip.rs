//! Tests that cannot check anything here say so, and are not counted as passed.

use std::fs::File;
use std::io::Write;
use std::thread;

/// The variable that names the file where skipped tests are listed.
pub const LOG_VARIABLE: &str = "UNMOOR_SKIP_LOG";

/// Notes that the running test checks nothing, and why; the test then returns.
///
/// The reason is printed, and appended to the file that [`LOG_VARIABLE`] names, if it is set.
#[track_caller]
pub fn skipped(why: &str) {
    let place = std::panic::Location::caller();
    let thread = thread::current();
    let line = format!(
        "{} ({}): {why}\n",
        thread.name().unwrap_or("a test"),
        place.file()
    );
    print!("skipped: {line}");
    let Some(path) = std::env::var_os(LOG_VARIABLE) else {
        return;
    };
    // One short write in append mode is one line, whoever else writes.
    let written = File::options().create(true).append(true).open(&path);
    if let Err(error) = written.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("cannot note a skipped test in {}: {error}", path.display());
    }
}
