//! Laws of events and cursors: over every pair of small lists.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::discover::{Readiness, Scope, Unreadable};
use crate::error::ErrorKind;
use crate::name::ReplicaId;
use crate::spec::Protocol;

fn endpoint(slot: u32, weight: u16) -> Endpoint {
    let id = ReplicaId::new(
        "shop".parse().expect("a name"),
        "web".parse().expect("a name"),
        slot,
    );
    Endpoint {
        stack: id.stack.clone(),
        service: id.service.clone(),
        replica: Some(id),
        address: IpAddr::V4(Ipv4Addr::from(slot)),
        port: Some(80),
        protocol: Protocol::Tcp,
        scope: Scope::External,
        health: Readiness::Ready,
        weight,
        zone: None,
        backend: "sim".to_owned(),
    }
}

fn list(parts: &[(u32, u16)]) -> Vec<Endpoint> {
    parts.iter().map(|(slot, w)| endpoint(*slot, *w)).collect()
}

fn unread(slot: u32) -> Unreadable {
    let what = Selector::replica(endpoint(slot, 1).replica.as_ref().expect("it has one"));
    let error = Error::new(ErrorKind::Corrupt, "read its status");
    Unreadable { what, error }
}

/// Takes events into a list, as a watcher does.
fn replay(held: &mut Vec<Endpoint>, events: Vec<Result<EndpointEvent>>) -> Option<Cursor> {
    let mut last = None;
    for event in events.into_iter().flatten() {
        last = Some(event.cursor());
        event.apply_to(held);
        held.sort();
        assert_eq!(
            last,
            Some(Cursor::of(held)),
            "the cursor of the list so far"
        );
    }
    last
}

fn all_lists() -> Vec<Vec<Endpoint>> {
    let states = |n: u32| (n % 3, n / 3 % 3, n / 9 % 3);
    let held = |slot: u32, state: u32| (state > 0).then(|| (slot, u16::from(state == 2)));
    (0..27)
        .map(|n| {
            let (a, b, c) = states(n);
            let parts = [held(1, a), held(2, b), held(3, c)];
            list(&parts.into_iter().flatten().collect::<Vec<_>>())
        })
        .collect()
}

#[test]
fn events_lead_from_any_list_to_any_other_and_a_cursor_is_one_list() {
    let lists = all_lists();
    for before in &lists {
        for after in &lists {
            let mut held = before.clone();
            replay(&mut held, diff(before, after).into_iter().map(Ok).collect());
            assert_eq!(&held, after);
            let same = Cursor::of(before) == Cursor::of(after);
            assert_eq!(same, before == after);
        }
    }
}

#[test]
fn a_watch_may_stop_after_any_event_and_goes_on_without_a_gap() {
    let lists = all_lists();
    for (before, after) in lists.iter().zip(lists.iter().rev()) {
        let all = diff(before, after);
        for stop in 0..=all.len() {
            let mut held = before.clone();
            let cursor = replay(&mut held, all[..stop].iter().cloned().map(Ok).collect());
            let mut again = Follower::new(Some(cursor.unwrap_or(Cursor::of(before))));
            let events = again.turn(after.clone().into());
            assert_eq!(events.is_empty(), held == *after, "nothing to tell");
            replay(&mut held, events);
            assert_eq!(&held, after);
        }
    }
}

#[test]
fn what_cannot_be_read_stays_and_is_told_once() {
    let mut follower = Follower::new(None);
    let mut held = Vec::new();
    replay(&mut held, follower.turn(list(&[(1, 1), (2, 1)]).into()));
    let partly = || Endpoints {
        list: list(&[(3, 1)]),
        unreadable: vec![unread(2)],
    };
    let events = follower.turn(partly());
    assert_eq!(events.iter().filter(|event| event.is_err()).count(), 1);
    replay(&mut held, events);
    assert_eq!(held, list(&[(2, 1), (3, 1)]), "1 has gone, 2 is not known");
    assert!(follower.turn(partly()).is_empty(), "told twice");
    // Read again: whole, though nothing of it has changed.
    let events = follower.turn(list(&[(2, 1), (3, 1)]).into());
    assert!(matches!(events[..], [Ok(EndpointEvent::Resync { .. })]));
}

#[test]
fn after_a_failed_look_the_list_is_told_whole() {
    let mut follower = Follower::new(None);
    assert_eq!(follower.turn(list(&[(1, 1)]).into()).len(), 1);
    assert!(follower.turn(list(&[(1, 1)]).into()).is_empty());
    let error = follower.lost(Error::new(ErrorKind::Unavailable, "look"));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let events = follower.turn(list(&[(1, 1)]).into());
    assert!(matches!(events[..], [Ok(EndpointEvent::Resync { .. })]));
}
