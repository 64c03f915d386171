//! Tests of a directory, told what a platform would tell it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::backend::{Action, Applied, Capabilities, Info, Observed, Step};
use crate::discover::{Endpoints, Follower, Readiness, Scope};
use crate::spec::Protocol;

type Item = Result<EndpointEvent>;

/// A platform that can only be watched; each watch is a channel of the test's.
#[derive(Debug, Default)]
struct Watched(Mutex<VecDeque<Result<UnboundedReceiver<Item>>>>);

#[async_trait]
impl Backend for Watched {
    fn info(&self) -> Info {
        unreachable!("a directory does not ask")
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }

    async fn observe(&self, _: &Selector) -> Result<Observed> {
        unreachable!("a directory does not observe")
    }

    async fn apply(&self, _: &Action, _: &Step) -> Result<Applied> {
        unreachable!("a directory changes nothing")
    }

    async fn endpoints(&self, _: &Selector) -> Result<Endpoints> {
        unreachable!("a directory is told")
    }

    async fn watch(
        self: Arc<Self>,
        _: &Selector,
        cursor: Option<Cursor>,
        _: Arc<dyn Clock>,
    ) -> Result<Stream<EndpointEvent>> {
        assert_eq!(cursor, None, "a directory begins with the whole list");
        let next = self.0.lock().unwrap().pop_front();
        let channel = next.unwrap_or_else(|| Err(Error::new(ErrorKind::Unavailable, "not yet")))?;
        let items = futures_util::stream::unfold(channel, |mut channel| async move {
            let item = channel.recv().await?;
            Some((item, channel))
        });
        Ok(items.boxed())
    }
}

impl Watched {
    fn next_watch(&self) -> UnboundedSender<Item> {
        let (sender, receiver) = unbounded_channel();
        self.0.lock().unwrap().push_back(Ok(receiver));
        sender
    }
}

fn names() -> (StackName, ServiceName) {
    let (stack, service) = (StackName::parse("shop"), ServiceName::parse("web"));
    (stack.expect("a name"), service.expect("a name"))
}

fn endpoints(hosts: &[u8]) -> Vec<Endpoint> {
    let (stack, service) = names();
    let one = |host: &u8| Endpoint {
        stack: stack.clone(),
        service: service.clone(),
        replica: None,
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, *host)),
        port: Some(80),
        protocol: Protocol::Tcp,
        scope: Scope::External,
        health: Readiness::Ready,
        weight: 1,
        zone: None,
        backend: "test".to_owned(),
    };
    hosts.iter().map(one).collect()
}

fn hosts(list: &[Endpoint]) -> Vec<u8> {
    let last = |endpoint: &Endpoint| match endpoint.address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => 0,
    };
    list.iter().map(last).collect()
}

/// Tells a whole look, as a backend does.
fn tell(to: &UnboundedSender<Item>, follower: &mut Follower, list: &[u8]) {
    for event in follower.turn(endpoints(list).into()) {
        to.send(event).expect("somebody listens");
    }
}

async fn open(backend: &Arc<Watched>) -> Result<Directory> {
    let backend = Arc::clone(backend) as Arc<dyn Backend>;
    let clock = Paused(tokio::time::Instant::now());
    Directory::open(backend, Selector::all(), Arc::new(clock)).await
}

/// A clock that passes as the paused time of these tests does.
#[derive(Debug)]
struct Paused(tokio::time::Instant);

#[async_trait]
impl Clock for Paused {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lookups_see_whole_looks_and_a_view_stays_as_it_is() {
    let backend = Arc::new(Watched::default());
    let watch = backend.next_watch();
    let mut follower = Follower::new(None);
    tell(&watch, &mut follower, &[1, 2]);
    let directory = open(&backend).await.expect("opened");
    let (stack, service) = names();
    assert_eq!(hosts(&directory.lookup(&stack, &service)), [1, 2]);
    assert_eq!(directory.freshness(), Freshness::Live);
    let before = directory.view();
    // Five changes of one look: nobody sees some of them.
    tell(&watch, &mut follower, &[2, 3, 4, 5, 6]);
    let now = directory.changed(before.cursor()).await;
    assert_eq!(hosts(&now.lookup(&stack, &service)), [2, 3, 4, 5, 6]);
    assert_eq!(hosts(&before.lookup(&stack, &service)), [1, 2]);
    tell(&watch, &mut follower, &[]);
    let now = directory.changed(now.cursor()).await;
    assert_eq!((now.iter().count(), now.cursor()), (0, Cursor::of(&[])));
    assert!(directory.lookup(&stack, &service).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_watch_is_told_and_begun_again_with_the_whole_list() {
    let backend = Arc::new(Watched::default());
    let watch = backend.next_watch();
    tell(&watch, &mut Follower::new(None), &[1]);
    let directory = open(&backend).await.expect("opened");
    let (stack, service) = names();
    let cursor = directory.view().cursor();
    drop(watch);
    // Not to be had for a while: what was known stays, and gets older.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(hosts(&directory.lookup(&stack, &service)), [1]);
    match directory.freshness() {
        Freshness::Stale { since, why } => {
            assert!(since >= Duration::from_secs(29), "{since:?}");
            assert!(why.contains("not yet"), "{why}");
        }
        Freshness::Live => panic!("there is no watch"),
    }
    let watch = backend.next_watch();
    tell(&watch, &mut Follower::new(None), &[7]);
    let now = directory.changed(cursor).await;
    assert_eq!(hosts(&now.lookup(&stack, &service)), [7]);
    assert_eq!(directory.freshness(), Freshness::Live);
}

#[tokio::test(start_paused = true)]
async fn an_error_item_makes_it_stale_until_the_next_whole_list() {
    let backend = Arc::new(Watched::default());
    let watch = backend.next_watch();
    let mut follower = Follower::new(None);
    tell(&watch, &mut follower, &[1]);
    let directory = open(&backend).await.expect("opened");
    let lost = follower.lost(Error::new(ErrorKind::Unavailable, "look"));
    watch.send(Err(lost)).expect("somebody listens");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(directory.freshness(), Freshness::Stale { .. }));
    tell(&watch, &mut follower, &[1]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(directory.freshness(), Freshness::Live);
}

#[tokio::test]
async fn the_watch_ends_with_the_last_directory() {
    let backend = Arc::new(Watched::default());
    let watch = backend.next_watch();
    tell(&watch, &mut Follower::new(None), &[1]);
    let directory = open(&backend).await.expect("opened");
    let other = directory.clone();
    drop(directory);
    assert!(!watch.is_closed());
    drop(other);
    watch.closed().await;
}
