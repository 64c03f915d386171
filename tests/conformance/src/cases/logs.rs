//! What replicas write, complete, in order, and as it is written.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use unmoor_core::ErrorKind;
use unmoor_core::apply::RunOptions;
use unmoor_core::backend::{Channel, LogLine, LogOptions, Phase, Stream};
use unmoor_core::label::Selector;
use unmoor_core::name::StackName;
use unmoor_core::spec::Service;

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};

cases! { "logs";
    /// Every line of a replica is there, in order, also after it ended.
    logs_complete_and_ordered [Spawn, Logs, RestartNo];
    /// Standard error is told apart from standard output.
    logs_stderr_kept_apart [Spawn, Logs, RestartNo];
    /// Following gives what is there and every line that comes, up to the program's last.
    logs_follow_until_exit [Spawn, LogsFollow, RestartNo];
    /// A follower sees what replicas write that came later.
    logs_follow_later_replicas [Spawn, Scale, LogsFollow, State];
    /// A follower sees the first line of a running replica long before its last.
    logs_follow_is_prompt [Spawn, LogsFollow];
    /// A tail is the last lines of each replica and no more.
    logs_tail [Spawn, Scale, Logs, RestartNo];
    /// Lines from a time on leave the earlier ones out.
    logs_since [Spawn, Logs, RestartNo];
    /// Lines of several replicas and services are each attributed to their writer.
    logs_are_attributed [Spawn, Scale, Logs, RestartNo];
    /// What a replica wrote before a restart is still there after it.
    logs_survive_a_restart [Spawn, Logs];
    /// Odd characters and empty lines come through.
    logs_keep_odd_lines [Spawn, Logs, RestartNo];
    /// Logs of what is not there are an error.
    logs_of_nothing_is_not_found [Logs];
}

async fn read(
    t: &Fixture,
    selector: &Selector,
    options: &LogOptions,
) -> Result<Vec<LogLine>, Failure> {
    Ok(t.client()
        .logs(selector, options)
        .await?
        .try_collect()
        .await?)
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

/// Brings up services that end by themselves, and waits until all have.
async fn run_to_end(t: &Fixture, services: Vec<(&str, Service)>) -> Result<StackName, Failure> {
    let mut stack = t.stack();
    for (name, service) in services {
        stack = stack.service(named(name), service);
    }
    t.up_only(&stack).await?;
    t.until("every replica has ended", || async {
        let seen = t.observe(&stack.name).await?;
        let over = |phase| matches!(phase, Phase::Stopped | Phase::Failed);
        Ok(seen
            .replicas
            .iter()
            .all(|replica| over(replica.phase))
            .then_some(()))
    })
    .await?;
    Ok(stack.name)
}

async fn logs_complete_and_ordered(t: &Fixture) -> Verdict {
    let stack = run_to_end(t, vec![("a", t.probe("lines 500 some text"))]).await?;
    let lines = read(t, &Selector::stack(stack), &LogOptions::new()).await?;
    ensure_eq!(lines.len(), 500, "number of lines");
    for (number, line) in lines.iter().enumerate() {
        ensure_eq!(line.text, format!("{number} some text"), "line {number}");
    }
    ensure!(lines.is_sorted_by_key(|line| line.time), "times go back");
    Ok(())
}

async fn logs_stderr_kept_apart(t: &Fixture) -> Verdict {
    let stack = run_to_end(t, vec![("a", t.probe("print out --stderr err"))]).await?;
    let lines = read(t, &Selector::stack(stack), &LogOptions::new()).await?;
    let of = |channel| -> Vec<&str> {
        let own = lines.iter().filter(|line| line.channel == channel);
        own.map(|line| line.text.as_str()).collect()
    };
    ensure_eq!(of(Channel::Stdout), ["out"], "standard output");
    ensure_eq!(of(Channel::Stderr), ["err"], "standard error");
    Ok(())
}

/// The next line of a follower.
async fn next(t: &Fixture, stream: &mut Stream<LogLine>) -> Result<LogLine, Failure> {
    let line = tokio::select! {
        biased;
        line = stream.next() => line,
        () = t.pass(PATIENCE) => return Err("no line in time".to_owned().into()),
    };
    Ok(line.ok_or_else(|| "the stream ended".to_owned())??)
}

async fn logs_follow_until_exit(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.probe("tick 100 5"));
    t.up_only(&stack).await?;
    let options = LogOptions::new().follow(true);
    let selector = Selector::stack(stack.name.clone());
    let mut stream = t.client().logs(&selector, &options).await?;
    for number in 0..5 {
        let line = next(t, &mut stream).await?;
        ensure_eq!(line.text, format!("tick {number}"), "the line");
    }
    Ok(())
}

async fn logs_follow_later_replicas(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.probe("serve"));
    t.up(&stack).await?;
    let options = LogOptions::new().follow(true);
    let selector = Selector::service(stack.name.clone(), named("a"));
    let mut stream = t.client().logs(&selector, &options).await?;
    let first = next(t, &mut stream).await?;
    ensure_eq!(first.replica, slot(&stack.name, "a", 1), "who wrote first");
    let scaled = unmoor_core::client::UpOptions::new();
    t.client()
        .scale(&stack.name, &named("a"), 2, &scaled)
        .await?;
    let later = next(t, &mut stream).await?;
    ensure_eq!(later.replica, slot(&stack.name, "a", 2), "who wrote later");
    ensure_eq!(later.text, "serving", "what it wrote");
    Ok(())
}

async fn logs_follow_is_prompt(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.probe("tick 1000"));
    t.up_only(&stack).await?;
    let options = LogOptions::new().follow(true);
    let selector = Selector::stack(stack.name.clone());
    let mut stream = t.client().logs(&selector, &options).await?;
    let mut last = None;
    for number in 0..3 {
        let line = next(t, &mut stream).await?;
        ensure_eq!(line.text, format!("tick {number}"), "the line");
        let now = t.time();
        if let Some(before) = last.replace(now) {
            let pause: Duration = now - before;
            ensure!(
                pause < Duration::from_secs(3),
                "a line came {pause:?} after the one before"
            );
        }
    }
    Ok(())
}

async fn logs_tail(t: &Fixture) -> Verdict {
    let stack = run_to_end(t, vec![("a", t.probe("lines 20 x").replicas(2))]).await?;
    let selector = Selector::stack(stack.clone());
    let lines = read(t, &selector, &LogOptions::new().tail(Some(3))).await?;
    for number in [1, 2] {
        let id = slot(&stack, "a", number);
        let own: Vec<_> = lines
            .iter()
            .filter(|line| line.replica == id)
            .cloned()
            .collect();
        ensure_eq!(texts(&own), ["17 x", "18 x", "19 x"], "tail of {id}");
    }
    ensure!(
        read(t, &selector, &LogOptions::new().tail(Some(0)))
            .await?
            .is_empty(),
        "a tail of 0"
    );
    let all = read(t, &selector, &LogOptions::new().tail(Some(1000))).await?;
    ensure_eq!(all.len(), 40, "lines of a tail that is longer than the log");
    Ok(())
}

async fn logs_since(t: &Fixture) -> Verdict {
    let stack = run_to_end(t, vec![("a", t.probe("tick 100 6"))]).await?;
    let selector = Selector::stack(stack);
    let all = read(t, &selector, &LogOptions::new()).await?;
    ensure_eq!(all.len(), 6, "number of lines");
    let lines = read(t, &selector, &LogOptions::new().since(Some(all[3].time))).await?;
    ensure_eq!(
        texts(&lines),
        ["tick 3", "tick 4", "tick 5"],
        "lines from the fourth on"
    );
    Ok(())
}

async fn logs_are_attributed(t: &Fixture) -> Verdict {
    let services = vec![
        ("a", t.probe("hostname").replicas(2)),
        ("b", t.probe("hostname")),
    ];
    let stack = run_to_end(t, services).await?;
    let lines = read(t, &Selector::stack(stack.clone()), &LogOptions::new()).await?;
    ensure_eq!(lines.len(), 3, "number of lines");
    for line in &lines {
        ensure_eq!(
            line.text,
            line.replica.to_string(),
            "what the replica wrote"
        );
    }
    let one = read(
        t,
        &Selector::replica(&slot(&stack, "a", 2)),
        &LogOptions::new(),
    )
    .await?;
    ensure_eq!(
        texts(&one),
        [slot(&stack, "a", 2).to_string()],
        "lines of one replica"
    );
    Ok(())
}

async fn logs_survive_a_restart(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.probe("serve"));
    t.up(&stack).await?;
    let selector = Selector::stack(stack.name.clone());
    let served = async |count: usize| {
        t.until("the program has begun", || async {
            let lines = read(t, &selector, &LogOptions::new()).await?;
            let begun = lines.iter().filter(|line| line.text == "serving").count();
            Ok((begun == count).then_some(()))
        })
        .await
    };
    served(1).await?;
    t.client()
        .restart(&selector, None, RunOptions::default())
        .await?;
    served(2).await
}

async fn logs_keep_odd_lines(t: &Fixture) -> Verdict {
    let words = [
        "print",
        "",
        "  spaces  ",
        "ünïcödé ⚓",
        "tab\tand \"quotes\"",
        "last",
    ];
    let service = t.probe("").command(words);
    let stack = run_to_end(t, vec![("a", service)]).await?;
    let lines = read(t, &Selector::stack(stack), &LogOptions::new()).await?;
    ensure_eq!(texts(&lines), words[1..], "what was printed");
    Ok(())
}

async fn logs_of_nothing_is_not_found(t: &Fixture) -> Verdict {
    let selector = Selector::stack(t.stack_name());
    let Err(error) = t.client().logs(&selector, &LogOptions::new()).await else {
        return Err("there are logs of a stack that does not exist"
            .to_owned()
            .into());
    };
    ensure_eq!(error.kind(), ErrorKind::NotFound, "kind of the error");
    Ok(())
}
