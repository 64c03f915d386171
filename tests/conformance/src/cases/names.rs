//! Names at their limits.

use std::collections::BTreeSet;

use unmoor_core::name::{NetworkName, ServiceName, StackName, VolumeName};
use unmoor_core::spec::{Attachment, Mount, Network, Stack, Volume};

use crate::case::{Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};

cases! { "names";
    /// The longest names of stacks, services, networks and volumes work.
    longest_names [Spawn, Links, Volumes, NetworkIsolation, InternalTcp];
    /// Names with dots, dashes, underscores, digits and capitals work.
    odd_names [Spawn, Links, InternalTcp];
    /// Names that differ only in punctuation or case do not collide.
    similar_names_do_not_collide [Spawn, Volumes];
    /// Thirty services come up together and find one another.
    thirty_services [Spawn, Links, InternalTcp];
}

fn padded(start: &str, letter: &str) -> String {
    format!("{start}{}", letter.repeat(63 - start.len()))
}

async fn longest_names(t: &Fixture) -> Verdict {
    let stack = StackName::parse(padded(t.stack_name().as_str(), "s"))?;
    t.adopt(&stack);
    let network = NetworkName::parse(padded("n", "n"))?;
    let volume = VolumeName::parse(padded("v", "v"))?;
    let (one, two) = (
        ServiceName::parse(padded("a", "a"))?,
        ServiceName::parse(padded("a", "b"))?,
    );
    let service = |words: &str| {
        t.server(words)
            .network(network.clone(), Attachment::default())
            .mount(Mount::volume(volume.clone(), "/data"))
    };
    let whole = Stack::new(stack.clone())
        .network(network.clone(), Network::default())
        .volume(volume.clone(), Volume::default())
        .service(one.clone(), service(""))
        .service(two.clone(), service("--tcp 80 --name long"));
    t.up(&whole).await?;
    let words = format!("connect {two} 80 hello");
    let answer = t.reach(&slot(&stack, one.as_str(), 1), &words).await?;
    ensure!(answer.ends_with(" long\n"), "who answered: {answer}");
    t.down(&stack).await?;
    Ok(())
}

async fn odd_names(t: &Fixture) -> Verdict {
    let names = ["0", "a.b-c_d", "UPPER", "x__y", "9-9", "a.b.c", "trailing-"];
    let mut stack = t.stack();
    for name in names {
        stack = stack.service(named(name), t.server(&format!("--tcp 80 --name {name}")));
    }
    t.up(&stack).await?;
    let from = slot(&stack.name, "0", 1);
    for name in names {
        let answer = t.reach(&from, &format!("connect {name} 80 hello")).await?;
        ensure!(
            answer.ends_with(&format!(" {name}\n")),
            "who answered as {name}: {answer}"
        );
    }
    Ok(())
}

async fn similar_names_do_not_collide(t: &Fixture) -> Verdict {
    let names = ["a-b", "a_b", "a.b", "A-B", "ab"];
    let mut stack = t.stack();
    for name in names {
        let volume = VolumeName::parse(name)?;
        let service = t.server("").mount(Mount::volume(volume.clone(), "/data"));
        stack = stack
            .volume(volume, Volume::default())
            .service(named(name), service);
    }
    t.up(&stack).await?;
    for name in names {
        t.ok(
            &slot(&stack.name, name, 1),
            &format!("write /data/own {name}"),
        )
        .await?;
    }
    for name in names {
        let found = t.ok(&slot(&stack.name, name, 1), "read /data/own").await?;
        ensure_eq!(found, name, "what {name} finds in its volume");
    }
    Ok(())
}

async fn thirty_services(t: &Fixture) -> Verdict {
    let mut stack = t.stack();
    for number in 0..30 {
        let service = t.server(&format!("--tcp 80 --name n{number}"));
        stack = stack.service(named(&format!("s{number}")), service);
    }
    t.up(&stack).await?;
    let from = slot(&stack.name, "s0", 1);
    let mut addresses = BTreeSet::new();
    for number in 0..30 {
        let answer = t
            .reach(&from, &format!("connect s{number} 80 hello"))
            .await?;
        ensure!(
            answer.ends_with(&format!(" n{number}\n")),
            "who answered as s{number}: {answer}"
        );
        addresses.insert(t.ok(&from, &format!("resolve s{number}")).await?);
    }
    ensure_eq!(addresses.len(), 30, "different addresses");
    Ok(())
}
