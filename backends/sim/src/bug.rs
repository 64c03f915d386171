//! Seeded bugs: a world with one of them must fail the conformance suite.

use std::collections::BTreeSet;

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A fault of the model, put in on purpose to prove that the suite sees it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Bug {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Bug {
            /// Every bug there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The bug's name in a URI.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// Finds a bug by its name.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|bug| bug.as_str() == text)
            }
        }
    };
}

bugs! {
    /// Replicas that are not ready get connections and count in discovery.
    UnreadyServes = "unready-serves",
    /// A drained replica goes on getting connections.
    DrainIgnored = "drain-ignored",
    /// Every service reaches every other, whatever their networks.
    NoIsolation = "no-isolation",
    /// A service's names resolve only once a replica of it runs.
    LateNames = "late-names",
    /// A service's address goes to its first replica only.
    NoBalance = "no-balance",
    /// A service's address changes when it is declared again.
    AddressMoves = "address-moves",
    /// A name resolves to the stable address though the replicas' own are asked for.
    AddressModeIgnored = "address-mode-ignored",
    /// Link variables are not set.
    NoLinkVariables = "no-link-variables",
    /// Aliases do not resolve.
    NoAliases = "no-aliases",
    /// An action on what is already so answers that it changed something.
    AlwaysChanged = "always-changed",
    /// A declared service is not remembered with its hash, so it is declared again each time.
    HashForgotten = "hash-forgotten",
    /// A removed replica takes the data of its volumes with it.
    VolumeDiesWithReplica = "volume-dies-with-replica",
    /// Removing a volume keeps its data for the next one of this name.
    VolumeKeepsData = "volume-keeps-data",
    /// Secrets are readable by everyone inside.
    SecretModeIgnored = "secret-mode-ignored",
    /// The platform's message on a replica shows its secrets.
    SecretInMessage = "secret-in-message",
    /// The grace between stop signal and kill is not kept.
    NoGrace = "no-grace",
    /// The stop signal is always SIGTERM.
    StopSignalIgnored = "stop-signal-ignored",
    /// Nothing is ever restarted.
    NeverRestarts = "never-restarts",
    /// Everything that ends is restarted.
    AlwaysRestarts = "always-restarts",
    /// The memory limit is not kept.
    NoMemoryLimit = "no-memory-limit",
    /// The limit of processes is not kept.
    NoPidsLimit = "no-pids-limit",
    /// Standard error is logged as standard output.
    ChannelsMixed = "channels-mixed",
    /// Each replica's log has its lines in reverse.
    LogsReversed = "logs-reversed",
    /// Following a log stops at what is there already.
    FollowEnds = "follow-ends",
    /// A tail has one line too many.
    TailOffByOne = "tail-off-by-one",
    /// A command inside always ends with 0.
    ExecCodeLost = "exec-code-lost",
    /// A command inside runs as root whatever was asked.
    ExecUserIgnored = "exec-user-ignored",
    /// A replica's exit code is always 1 if it is not 0.
    ExitCodeLost = "exit-code-lost",
    /// Two services may publish the same port.
    PortsShared = "ports-shared",
    /// The root file system can be written although it must not.
    WritableRoot = "writable-root",
    /// Services run with every Linux capability.
    AllCapabilities = "all-capabilities",
    /// The user of the service is ignored.
    UserIgnored = "user-ignored",
    /// Removing a replica leaves it in the list.
    RemoveLeavesReplica = "remove-leaves-replica",
    /// Removing a network leaves it in the list.
    RemoveLeavesNetwork = "remove-leaves-network",
    /// A watch starts with changes instead of the whole list.
    WatchWithoutResync = "watch-without-resync",
    /// A watch never tells of removals.
    WatchForgetsRemovals = "watch-forgets-removals",
    /// A watch that resumes takes it that nothing has changed meanwhile.
    WatchResumesBlindly = "watch-resumes-blindly",
    /// A service sees from inside whatever there is.
    InsideSeesAll = "inside-sees-all",
    /// From inside everybody is answered, whatever the token.
    InsideNeedsNoToken = "inside-needs-no-token",
    /// Health checks always pass.
    AlwaysHealthy = "always-healthy",
    /// A failed health check is never noticed once it passed.
    HealthSticks = "health-sticks",
    /// Two holders get the lock of one stack.
    LockShared = "lock-shared",
    /// A record is written whatever its revision.
    RevisionIgnored = "revision-ignored",
    /// Pausing is answered, and nothing rests.
    PauseIgnored = "pause-ignored",
    /// A signal that was sent never arrives.
    SignalLost = "signal-lost",
    /// Files copied out are cut in half.
    CopyCutsFiles = "copy-cuts-files",
    /// Events never tell that a replica has ended.
    EventsForgetEnds = "events-forget-ends",
    /// A service's network has no isolation from the outside though it is internal.
    InternalLeaks = "internal-leaks",
    /// A replica whose program has died goes on getting connections until it is started again.
    DeathUnnoticed = "death-unnoticed",
    /// A service that is declared anew loses its links for a moment.
    LinkGap = "link-gap",
    /// The end of one link of a service takes its other links with it.
    UnlinkTakesAll = "unlink-takes-all",
    /// A published port refuses for a moment after each start of a replica.
    PublishedGap = "published-gap",
    /// Names at the limit of their length do not resolve.
    LongNamesLost = "long-names-lost",
    /// What starts a replica writes its secrets to the log.
    SecretInLog = "secret-in-log",
    /// The end of a service takes the addresses of its namesakes in other stacks.
    NamesakesSuffer = "namesakes-suffer",
    /// That a replica was drained is not told, so that nobody puts it back.
    DrainUntold = "drain-untold",
    /// What is written to an attached program never arrives.
    AttachLosesInput = "attach-loses-input",
    /// An image is removed although a replica runs on it.
    ImageRemovedInUse = "image-removed-in-use",
    /// A program that fails is told to have ended well.
    FailureHidden = "failure-hidden",
    /// Every replica is told to be as its service was declared last.
    HashOfService = "hash-of-service",
    /// The start of a replica starts whatever else was stopped.
    StartWakesAll = "start-wakes-all",
    /// Volumes whose names differ in punctuation or case have the same data.
    SimilarVolumesShared = "similar-volumes-shared",
    /// Replicas of somebody else's are not shown.
    ForeignHidden = "foreign-hidden",
    /// What is somebody else's is treated as ours where something is made or removed.
    ForeignTouched = "foreign-touched",
    /// What is taken over is started anew on the occasion.
    AdoptRestarts = "adopt-restarts",
    /// What is taken over goes back to whoever had it.
    AdoptForgotten = "adopt-forgotten",
    /// Who takes over one thing gets the whole stack.
    AdoptTakesAll = "adopt-takes-all",
}

/// The bugs of one world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bugs(BTreeSet<Bug>);

impl Bugs {
    pub(crate) fn add(&mut self, bug: Bug) {
        self.0.insert(bug);
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.0.contains(&bug)
    }
}
