//! The suite decides what the backend may claim, and what it is known not to keep is said.

use std::sync::Arc;

use unmoor_conformance::{Options, run};
use unmoor_proc::ProcBackend;

/// What every container has and a plain process has not.
const NOT_ITS_OWN: [(&str, &str); 6] = [
    ("working_dir", "paths are those of the machine"),
    ("exec_env_and_dir", "paths are those of the machine"),
    ("restart_keeps_files", "paths are those of the machine"),
    ("hostname", "the host name is the machine's"),
    ("logs_are_attributed", "the program says the machine's name"),
    ("image_from_rootfs", "it takes OCI layouts only"),
];

/// Of the ways to hand an image over, it knows one.
const LAYOUTS_ONLY: [&str; 4] = [
    "image_from_docker_archive",
    "loading_twice_changes_nothing",
    "image_name_is_not_taken_silently",
    "image_in_use_is_not_removed",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_every_claim_but_those_it_is_known_not_to() {
    let mut options = Options::new();
    for (case, reason) in NOT_ITS_OWN {
        options = options.known(case, reason);
    }
    for case in LAYOUTS_ONLY {
        options = options.known(case, "it takes OCI layouts only");
    }
    let backend = Arc::new(ProcBackend::new().expect("a folder"));
    let report = run(backend, &options).await.expect("the probe is loaded");
    assert!(report.is_success(), "{report}");
    assert!(report.passed() >= 70, "{}", report.closing_line());
}
