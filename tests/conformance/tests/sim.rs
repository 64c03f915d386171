//! The model keeps every claim it declares; a model with a bug does not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use unmoor_conformance::{Dial, Disown, Evidence, Options, Outcome, Report, all_cases, run};
use unmoor_core::Error;
use unmoor_core::backend::Maker;
use unmoor_core::clock::SystemClock;
use unmoor_core::name::StackName;
use unmoor_core::spec::Protocol;
use unmoor_sim::{Bug, Builder, Sim, VirtualClock, drive};

/// The way to ports that exist in the model only.
#[derive(Debug)]
struct Knock(Sim);

#[async_trait]
impl Dial for Knock {
    async fn ask(&self, protocol: Protocol, to: SocketAddr, line: &str) -> io::Result<String> {
        let answer = self.0.knock(protocol, to.port(), line);
        answer.map_err(|error| io::Error::new(io::ErrorKind::ConnectionRefused, error))
    }
}

/// What is in the model and somebody else's.
#[derive(Debug)]
struct Project(Sim);

#[async_trait]
impl Disown for Project {
    async fn disown(&self, stack: &StackName) -> Result<Maker, Error> {
        let maker = Maker::Compose(stack.to_string());
        assert!(self.0.disown(stack, &maker), "there is no {stack}");
        Ok(maker)
    }
}

async fn report(sim: &Sim, only: &[&str]) -> Report {
    let mut options = Options::new()
        .evidence(Evidence::Model)
        .clock(sim.clock())
        .dial(Arc::new(Knock(sim.clone())))
        .disown(Arc::new(Project(sim.clone())));
    if !only.is_empty() {
        // In the model one case takes no time, except one that waits for ever.
        options.limit = Duration::from_secs(20);
    }
    for case in only {
        options = options.only(*case);
    }
    run(sim.backend(), &options)
        .await
        .expect("the probe is loaded")
}

/// A report on a world of virtual time, of which an hour costs next to nothing.
fn at_once(world: Builder, only: &[&str]) -> Report {
    let clock = VirtualClock::manual();
    let sim = world.clock(Arc::new(clock.clone())).build();
    drive(&clock, report(&sim, only))
}

#[test]
fn the_model_keeps_every_claim() {
    let report = at_once(Sim::builder(), &[]);
    assert!(report.is_success(), "{report}");
    assert_eq!(report.cases.len(), all_cases().len());
    assert!(report.passed() >= 40, "{}", report.closing_line());
}

#[test]
fn the_model_keeps_its_claims_whatever_the_seed() {
    for seed in 2..5 {
        let report = at_once(Sim::builder().seed(seed), &[]);
        assert!(report.is_success(), "seed {seed}: {report}");
    }
}

/// As a program does it that connects by URI: real time, real sockets, several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_keeps_its_claims_in_real_time() {
    let clock = Arc::new(SystemClock::new());
    let sim = Sim::builder().clock(clock).sockets().build();
    let options = Options::new()
        .evidence(Evidence::Model)
        .disown(Arc::new(Project(sim.clone())));
    let report = run(sim.backend(), &options).await;
    let report = report.expect("the probe is loaded");
    assert!(report.is_success(), "{report}");
}

/// Each bug, and a case that must see it.
const CAUGHT: &[(Bug, &str)] = &[
    (Bug::UnreadyServes, "only_ready_endpoints_get_connections"),
    (Bug::DrainIgnored, "drained_replica_gets_no_connection"),
    (Bug::NoIsolation, "isolation_between_networks"),
    (Bug::LateNames, "link_resolves_before_start"),
    (Bug::NoBalance, "scaled_service_balances"),
    (Bug::AddressMoves, "vip_survives_scale"),
    (
        Bug::AddressModeIgnored,
        "name_gives_the_replicas_on_request",
    ),
    (Bug::NoLinkVariables, "alias_env_vars"),
    (Bug::NoAliases, "explicit_alias"),
    (Bug::AlwaysChanged, "drained_replica_gets_no_connection"),
    (Bug::HashForgotten, "up_twice_writes_nothing"),
    (Bug::VolumeDiesWithReplica, "volume_data_survives_down_up"),
    (Bug::VolumeKeepsData, "down_with_volumes_removes_data"),
    (Bug::SecretModeIgnored, "secret_is_closed_to_others"),
    (Bug::SecretInMessage, "secrets_nowhere_in_observe_or_errors"),
    (Bug::NoGrace, "stop_grace_then_kill"),
    (Bug::StopSignalIgnored, "stop_signal"),
    (Bug::NeverRestarts, "restart_on_failure"),
    (Bug::AlwaysRestarts, "restart_no"),
    (Bug::NoMemoryLimit, "memory_limit"),
    (Bug::NoPidsLimit, "pids_limit"),
    (Bug::ChannelsMixed, "logs_stderr_kept_apart"),
    (Bug::LogsReversed, "logs_complete_and_ordered"),
    (Bug::FollowEnds, "logs_follow_until_exit"),
    (Bug::TailOffByOne, "logs_tail"),
    (Bug::ExecCodeLost, "exec_output_and_exit_code"),
    (Bug::ExecUserIgnored, "exec_user"),
    (Bug::ExitCodeLost, "exit_code_recorded"),
    (
        Bug::PortsShared,
        "published_port_conflict_refused_before_start",
    ),
    (Bug::WritableRoot, "read_only_root"),
    (Bug::AllCapabilities, "capabilities_by_default"),
    (Bug::UserIgnored, "user_and_groups"),
    (Bug::RemoveLeavesReplica, "scale_up_down"),
    (Bug::RemoveLeavesNetwork, "down_leaves_nothing"),
    (Bug::WatchWithoutResync, "watch_resync_first_then_changes"),
    (Bug::WatchForgetsRemovals, "watch_sees_scale_and_removal"),
    (Bug::WatchResumesBlindly, "watch_resumes_without_a_gap"),
    (Bug::InsideSeesAll, "inside_lists_what_its_networks_have"),
    (Bug::InsideNeedsNoToken, "inside_answers_its_own_token_only"),
    (Bug::AlwaysHealthy, "unready_replica_leaves_discovery"),
    (Bug::HealthSticks, "unready_replica_leaves_discovery"),
    (Bug::LockShared, "lock_has_one_holder"),
    (Bug::RevisionIgnored, "record_has_one_writer"),
    (Bug::PauseIgnored, "paused_replica_rests"),
    (Bug::SignalLost, "signal_arrives"),
    (Bug::CopyCutsFiles, "copy_there_and_back"),
    (Bug::EventsForgetEnds, "events_tell_a_life"),
    (Bug::InternalLeaks, "internal_network_has_no_way_out"),
    (Bug::DeathUnnoticed, "published_traffic_through_deaths"),
    (Bug::LinkGap, "traffic_through_repoint"),
    (Bug::UnlinkTakesAll, "traffic_through_unlink_of_another"),
    (Bug::PublishedGap, "published_traffic_through_changes"),
    (Bug::LongNamesLost, "changes_under_the_longest_names"),
    (Bug::SecretInLog, "secrets_nowhere_through_changes"),
    (Bug::NamesakesSuffer, "traffic_through_down_of_another"),
    (
        Bug::DrainUntold,
        "replica_drained_before_it_is_ready_is_put_back",
    ),
    (Bug::AttachLosesInput, "attach_carries_streams"),
    (Bug::ImageRemovedInUse, "image_in_use_is_not_removed"),
    (Bug::FailureHidden, "failed_dependency_stops_dependents"),
    (
        Bug::HashOfService,
        "paused_rollout_rests_between_old_and_new",
    ),
    (Bug::StartWakesAll, "scale_leaves_others_stopped"),
    (Bug::SimilarVolumesShared, "similar_names_do_not_collide"),
    (Bug::ForeignHidden, "foreign_is_shown_as_such"),
    (Bug::ForeignTouched, "foreign_is_not_touched"),
    (Bug::AdoptRestarts, "adopted_stack_runs_on"),
    (Bug::AdoptForgotten, "adopted_stack_runs_on"),
    (Bug::AdoptTakesAll, "adopted_service_brings_what_it_needs"),
];

/// Why a bug was missed, if it was.
fn missed(bug: Bug) -> Option<String> {
    let Some((_, case)) = CAUGHT.iter().find(|(known, _)| *known == bug) else {
        return Some(format!("{bug:?} has no case"));
    };
    let report = at_once(Sim::builder().bug(bug), &[case]);
    let mut cases = report.cases.iter();
    let failed =
        cases.any(|found| found.name == *case && matches!(found.outcome, Outcome::Fail(_)));
    (!failed).then(|| format!("{bug:?} is not seen by {case}: {report}"))
}

#[test]
fn every_bug_is_caught() {
    let next = AtomicUsize::new(0);
    let worker = || {
        let bugs = || Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(bugs)
            .filter_map(|bug| missed(*bug))
            .collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let missed: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().expect("no panic"));
        joined.flatten().collect()
    });
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
