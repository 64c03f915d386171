//! What a case works with: a client, names of its own, the probe, and ways to look inside.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use unmoor_core::apply::Report;
use unmoor_core::backend::{
    Backend, Capabilities, ExecOptions, Feature, LogLine, LogOptions, Maker, ObservedReplica,
    ObservedStack,
};
use unmoor_core::client::{DownOptions, UpOptions};
use unmoor_core::discover::{Endpoint, Readiness, Scope};
use unmoor_core::image::ImageRef;
use unmoor_core::label::Selector;
use unmoor_core::name::{NetworkName, ReplicaId, ServiceName, StackName};
use unmoor_core::spec::{Health, HealthTest, Protocol, Published, Service, Stack};
use unmoor_core::{Client, Error};

use crate::case::Failure;
use crate::dial::Dial;
use crate::disown::Disown;
use crate::image;

/// Port on which the suite reaches probes that it cannot run commands in.
const DOOR: u16 = 7070;

/// Longest wait for what must come about soon.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a command inside printed, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Everything a case may touch.
#[derive(Debug)]
pub struct Fixture {
    client: Client,
    backend: Arc<dyn Backend>,
    capabilities: Capabilities,
    dial: Arc<dyn Dial>,
    disown: Option<Arc<dyn Disown>>,
    folder: tempfile::TempDir,
    base: String,
    count: AtomicU32,
    made: Mutex<Vec<StackName>>,
}

impl Fixture {
    pub(crate) fn new(
        client: Client,
        backend: Arc<dyn Backend>,
        (dial, disown): (Arc<dyn Dial>, Option<Arc<dyn Disown>>),
        base: String,
    ) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()
            .map_err(|error| Failure::Failed(format!("make a temporary folder: {error}")))?;
        Ok(Self {
            capabilities: backend.capabilities(),
            client,
            backend,
            dial,
            disown,
            folder,
            base,
            count: AtomicU32::new(0),
            made: Mutex::new(Vec::new()),
        })
    }

    /// The client under test.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The backend beneath it, for claims about single actions and facets.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// What the backend can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// True if the backend has a feature.
    pub fn has(&self, feature: Feature) -> bool {
        self.capabilities.has(feature)
    }

    /// A folder that goes with the case.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A name for a stack that nobody else has; what it holds is removed after the case.
    pub fn stack_name(&self) -> StackName {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let name = StackName::parse(format!("{}-{number}", self.base)).expect("the base is short");
        self.adopt(&name);
        name
    }

    /// Has a stack removed after the case.
    pub fn adopt(&self, name: &StackName) {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name.clone());
    }

    pub(crate) fn made(&self) -> Vec<StackName> {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes all that a stack has somebody else's, past the backend; says whose.
    ///
    /// # Errors
    /// Skips the case where this run has no way to do that.
    pub async fn disown(&self, name: &StackName) -> Result<Maker, Failure> {
        match &self.disown {
            Some(way) => Ok(way.disown(name).await?),
            None => {
                let text = "this run has no way to put there what is not ours";
                Err(Failure::Skipped(text.to_owned()))
            }
        }
    }

    /// An empty stack with a name of its own.
    pub fn stack(&self) -> Stack {
        Stack::new(self.stack_name())
    }

    /// A service that runs the probe with these arguments.
    pub fn probe(&self, words: &str) -> Service {
        Service::new(image::reference("1")).command(words.split_whitespace())
    }

    /// A service that only serves, and in which commands can be run.
    ///
    /// Where commands cannot be run inside, a port is published through which it takes them.
    pub fn server(&self, words: &str) -> Service {
        if self.has(Feature::Exec) && !self.has(Feature::InternalTcp) {
            // Nobody asks it over a network, and two on one node cannot have the same port.
            return self.probe(&format!("serve {words}"));
        }
        let service = self.probe(&format!("serve --tcp {DOOR} {words}"));
        if self.has(Feature::Exec) {
            return service;
        }
        service.publish(Published {
            host_port: None,
            ..Published::tcp(1, DOOR)
        })
    }

    /// The suite's image under another tag: the same program, another digest.
    pub fn image(&self, tag: &str) -> ImageRef {
        image::reference(tag)
    }

    /// A health check that asks the probe's server on `port`, ten times a second.
    pub fn health(&self, port: u16) -> Health {
        let words = ["/probe".to_owned(), "check".to_owned(), port.to_string()];
        let pace = Duration::from_millis(100);
        Health::new(HealthTest::Exec(words.to_vec()))
            .interval(pace)
            .retries(2)
            .start(Duration::from_secs(30), pace)
    }

    /// Brings a stack up and waits until all of it serves.
    ///
    /// # Errors
    /// What `up` gives.
    pub async fn up(&self, stack: &Stack) -> Result<Report, Error> {
        self.client
            .up(stack, &UpOptions::new().wait(PATIENCE))
            .await
    }

    /// Brings a stack up and does not wait.
    ///
    /// # Errors
    /// What `up` gives.
    pub async fn up_only(&self, stack: &Stack) -> Result<Report, Error> {
        self.client.up(stack, &UpOptions::new()).await
    }

    /// Takes a stack down; its volumes stay.
    ///
    /// # Errors
    /// What `down` gives.
    pub async fn down(&self, name: &StackName) -> Result<Report, Error> {
        self.client.down(name, &DownOptions::new()).await
    }

    /// What there is of a stack.
    ///
    /// # Errors
    /// What `observe` gives.
    pub async fn observe(&self, name: &StackName) -> Result<ObservedStack, Error> {
        let observed = self.client.observe(&Selector::stack(name.clone())).await?;
        Ok(observed.stack(name))
    }

    /// The replicas of a service, by slot.
    ///
    /// # Errors
    /// What `observe` gives.
    pub async fn replicas(
        &self,
        stack: &StackName,
        service: &str,
    ) -> Result<Vec<ObservedReplica>, Failure> {
        let selector = Selector::service(stack.clone(), named(service));
        let mut list = self.client.observe(&selector).await?.stack(stack).replicas;
        list.sort_by_key(|replica| replica.id.slot);
        Ok(list)
    }

    /// The one replica of a service.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub async fn replica(
        &self,
        stack: &StackName,
        service: &str,
    ) -> Result<ObservedReplica, Failure> {
        let mut list = self.replicas(stack, service).await?;
        let count = list.len();
        match list.pop() {
            Some(replica) if count == 1 => Ok(replica),
            _ => Err(Failure::Failed(format!(
                "`{service}` has {count} replicas, not one"
            ))),
        }
    }

    /// Runs a probe command beside the program of a replica.
    ///
    /// # Errors
    /// If there is no way in.
    pub async fn run(&self, replica: &ReplicaId, words: &str) -> Result<Output, Failure> {
        if self.has(Feature::Exec) {
            let mut command = vec!["/probe"];
            command.extend(words.split_whitespace());
            return self.exec(replica, &ExecOptions::new(command)).await;
        }
        let selector = Selector::replica(replica);
        let list = self.client.discover(&selector).await?;
        let door = list
            .iter()
            .find(|endpoint| endpoint.scope == Scope::External);
        let Some(door) = door else {
            let text = "there is neither exec nor a published port to look inside";
            return Err(Failure::Skipped(text.to_owned()));
        };
        let answer = self.ask(door, words).await?;
        Ok(read_answer(&answer))
    }

    /// Runs any command inside a replica.
    ///
    /// # Errors
    /// What `exec` gives.
    pub async fn exec(
        &self,
        replica: &ReplicaId,
        options: &ExecOptions,
    ) -> Result<Output, Failure> {
        let (code, out, err) = self.client.output(replica, options).await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output {
            code,
            out: text(out),
            err: text(err),
        })
    }

    /// Runs a probe command that must end with 0; what it printed.
    ///
    /// # Errors
    /// If it ends otherwise.
    pub async fn ok(&self, replica: &ReplicaId, words: &str) -> Result<String, Failure> {
        let output = self.run(replica, words).await?;
        if output.code == 0 {
            return Ok(output.out);
        }
        let (code, err) = (output.code, output.err.trim_end());
        Err(Failure::Failed(format!(
            "`{words}` in {replica} ended with {code}: {err}"
        )))
    }

    /// Sends a line to an endpoint that is reachable from outside, until it answers.
    ///
    /// # Errors
    /// If nothing answers in time.
    pub async fn ask(&self, endpoint: &Endpoint, line: &str) -> Result<String, Failure> {
        let what = format!("{}:{:?} answers", endpoint.address, endpoint.port);
        self.until(&what, || async {
            Ok(self.ask_once(endpoint, line).await.ok())
        })
        .await
    }

    /// Sends a line to an endpoint that is reachable from outside, once.
    ///
    /// # Errors
    /// If nothing answers.
    pub async fn ask_once(&self, endpoint: &Endpoint, line: &str) -> Result<String, Failure> {
        let (to, protocol) = (reached_at(endpoint), endpoint.protocol);
        let answer = self.ask_kind(endpoint, line).await;
        answer.map_err(|error| Failure::Failed(format!("ask {to}/{protocol}: {error}")))
    }

    /// The same for those who want to know how it failed.
    pub(crate) async fn ask_kind(&self, endpoint: &Endpoint, line: &str) -> io::Result<String> {
        let (to, protocol) = (reached_at(endpoint), endpoint.protocol);
        self.dial.ask(protocol, to, line).await
    }

    /// The published endpoint of a service, once it is ready.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn door(
        &self,
        stack: &StackName,
        service: &str,
        protocol: Protocol,
    ) -> Result<Endpoint, Failure> {
        let selector = Selector::service(stack.clone(), named(service));
        self.until("a published endpoint is listed", || async {
            let list = self.client.discover(&selector).await?;
            Ok(list.into_iter().find(|endpoint| {
                endpoint.scope == Scope::External
                    && endpoint.protocol == protocol
                    && endpoint.health == Readiness::Ready
            }))
        })
        .await
    }

    /// Waits until something is found, by the client's clock.
    ///
    /// # Errors
    /// If it is not found in time.
    pub async fn until<T, F>(&self, what: &str, mut look: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Option<T>, Failure>>,
    {
        let clock = self.client.clock();
        let start = clock.monotonic();
        let mut pace = Duration::from_millis(5);
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if clock.monotonic().saturating_sub(start) > PATIENCE {
                return Err(Failure::Failed(format!(
                    "not within {} s: {what}",
                    PATIENCE.as_secs()
                )));
            }
            clock.sleep(pace).await;
            pace = (pace * 2).min(Duration::from_millis(200));
        }
    }

    /// Waits until a probe command inside a replica ends with 0 and prints what is wanted.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn until_says(
        &self,
        replica: &ReplicaId,
        words: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, Failure> {
        let what = format!("`{words}` in {replica} answers as it should");
        self.until(&what, || async {
            let output = self.run(replica, words).await?;
            Ok((output.code == 0 && wanted(&output.out)).then_some(output.out))
        })
        .await
    }

    /// Runs a probe command inside a replica until it ends with 0, as programs take time to begin.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn reach(&self, replica: &ReplicaId, words: &str) -> Result<String, Failure> {
        self.until_says(replica, words, |_| true).await
    }

    /// Waits until every selected server has said that it serves: from then on it minds signals.
    ///
    /// # Errors
    /// If one does not say so in time. Where logs are not kept, it is not waited for.
    pub async fn until_serving(&self, selector: &Selector) -> Result<(), Failure> {
        if !self.has(Feature::Logs) {
            return Ok(());
        }
        let options = LogOptions::new();
        self.until("every server says that it serves", || async {
            let replicas = self.client.observe(selector).await?.replicas().count();
            let lines: Vec<LogLine> = self
                .client
                .logs(selector, &options)
                .await?
                .try_collect()
                .await?;
            let serving = lines.iter().filter(|line| line.text == "serving");
            let serving: BTreeSet<&ReplicaId> = serving.map(|line| &line.replica).collect();
            Ok((serving.len() == replicas).then_some(()))
        })
        .await
    }

    /// Lets time pass by the client's clock.
    pub async fn pass(&self, time: Duration) {
        self.client.clock().sleep(time).await;
    }

    /// Time by the client's clock.
    pub fn time(&self) -> Duration {
        self.client.clock().monotonic()
    }
}

fn reached_at(endpoint: &Endpoint) -> SocketAddr {
    SocketAddr::new(endpoint.address, endpoint.port.unwrap_or_default())
}

/// A server's answer to a line, as a command's output.
fn read_answer(answer: &str) -> Output {
    let error = answer
        .rfind("error ")
        .filter(|at| *at == 0 || answer[..*at].ends_with('\n'));
    let failed = error.and_then(|at| {
        let (code, err) = answer[at + 6..].split_once(": ")?;
        Some((code.parse().ok()?, answer[..at].to_owned(), err.to_owned()))
    });
    match failed {
        Some((code, out, err)) => Output { code, out, err },
        None => Output {
            code: 0,
            out: answer.to_owned(),
            err: String::new(),
        },
    }
}

/// A service's name.
///
/// # Panics
/// If the suite uses an invalid one.
pub(crate) fn named(name: &str) -> ServiceName {
    ServiceName::parse(name).expect("the suite's own names are valid")
}

/// A network's name.
///
/// # Panics
/// If the suite uses an invalid one.
pub(crate) fn net(name: &str) -> NetworkName {
    NetworkName::parse(name).expect("the suite's own names are valid")
}

/// A replica's name.
pub(crate) fn slot(stack: &StackName, service: &str, number: u32) -> ReplicaId {
    ReplicaId::new(stack.clone(), named(service), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_servers_read_like_outputs() {
        assert_eq!(read_answer("vm -\n").code, 0);
        let failed = read_answer("started 3\nerror 1: x\n");
        assert_eq!(
            (failed.code, failed.out.as_str(), failed.err.as_str()),
            (1, "started 3\n", "x\n")
        );
        assert_eq!(read_answer("an error 1: inside").code, 0);
    }
}
