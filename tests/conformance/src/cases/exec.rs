//! Commands inside replicas.

use futures_util::FutureExt as _;
use unmoor_core::ErrorKind;
use unmoor_core::apply::RunOptions;
use unmoor_core::backend::{ExecOptions, ExecOutput};
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;

use super::spawn::field;
use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};

cases! { "exec";
    /// A command's output, errors and exit code come back.
    exec_output_and_exit_code [Spawn, Exec];
    /// A command reads what is written to it, until its input is closed.
    exec_stdin [Spawn, Exec];
    /// Calls to a session that are dropped before they end lose and repeat nothing.
    exec_dropped_calls_lose_nothing [Spawn, Exec];
    /// A program that is not there is exit code 127 and no error.
    exec_not_found_is_127 [Spawn, Exec];
    /// A command runs as the replica's user, or as another that is asked for.
    exec_user [Spawn, Exec, User];
    /// A command gets further variables and another working directory.
    exec_env_and_dir [Spawn, Exec];
    /// A large output comes through whole.
    exec_large_output [Spawn, Exec];
    /// A command with a terminal has one; without, it has none.
    exec_tty [Spawn, Exec, ExecTty];
    /// A command inside a stopped replica, or none, is refused.
    exec_needs_a_running_replica [Spawn, Exec];
    /// Commands at the same time do not disturb each other.
    exec_side_by_side [Spawn, Exec];
    /// A session that is dropped ends its command.
    exec_ends_with_its_session [Spawn, Exec];
}

/// A stack of one server; its replica.
async fn one(t: &Fixture) -> Result<ReplicaId, Failure> {
    let stack = t.stack().service(named("a"), t.server(""));
    t.up(&stack).await?;
    Ok(slot(&stack.name, "a", 1))
}

async fn exec_output_and_exit_code(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let output = t.run(&a, "print one two --stderr three").await?;
    ensure_eq!(output.out, "one\ntwo\n", "standard output");
    ensure_eq!(output.err, "three\n", "standard error");
    ensure_eq!(output.code, 0, "exit code");
    for code in [1, 42, 255] {
        ensure_eq!(
            t.run(&a, &format!("exit {code}")).await?.code,
            code,
            "exit code"
        );
    }
    Ok(())
}

async fn exec_stdin(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let options = ExecOptions::new(["/probe", "cat"]).stdin(true);
    let mut session = t.client().exec(&a, &options).await?;
    session.write_all(b"first ").await?;
    session.write_all(b"second").await?;
    session.close_stdin().await?;
    let mut out = Vec::new();
    let code = loop {
        match session.next().await? {
            Some(ExecOutput::Stdout(bytes)) => out.extend(bytes),
            Some(ExecOutput::Stderr(_)) => {}
            Some(ExecOutput::Exited(code)) => break code,
            None => return Err("the session ended without an exit code".to_owned().into()),
        }
    };
    ensure_eq!(
        String::from_utf8_lossy(&out),
        "first second",
        "what came back"
    );
    ensure_eq!(code, 0, "exit code");
    ensure_eq!(session.next().await?, None, "what follows the end");
    Ok(())
}

async fn exec_dropped_calls_lose_nothing(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let options = ExecOptions::new(["/probe", "cat"]).stdin(true);
    let mut session = t.client().exec(&a, &options).await?;
    // More than pipes and terminals hold, so that both directions have to wait.
    let input: Vec<u8> = (0..40_000)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    let (mut rest, mut back) = (input.as_slice(), Vec::new());
    let start = t.time();
    while back.len() < input.len() {
        let mut idle = true;
        // Each call is polled once and dropped, as a branch of a `select!` that lost.
        if let Some(written) = session.write(rest).now_or_never() {
            idle = rest.is_empty();
            rest = &rest[written?..];
        }
        match session.next().now_or_never() {
            None if idle => t.pass(std::time::Duration::from_millis(1)).await,
            None => {}
            Some(output) => match output? {
                Some(ExecOutput::Stdout(bytes)) => back.extend(bytes),
                other => return Err(format!("not output but {other:?}").into()),
            },
        }
        let late = t.time().saturating_sub(start) > PATIENCE;
        ensure!(!late, "{} of {} bytes came back", back.len(), input.len());
    }
    ensure!(
        back == input,
        "what came back differs from what was written"
    );
    session.close_stdin().await?;
    let end = session.next().await?;
    ensure_eq!(end, Some(ExecOutput::Exited(0)), "the end");
    Ok(())
}

async fn exec_not_found_is_127(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    for program in ["/not/there", "not-in-the-path"] {
        let output = t.exec(&a, &ExecOptions::new([program])).await?;
        ensure_eq!(output.code, 127, "exit code of {program}");
    }
    let folder = t.exec(&a, &ExecOptions::new(["/etc"])).await?;
    ensure_eq!(folder.code, 126, "exit code of a folder");
    Ok(())
}

async fn exec_user(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service.user = Some("app".to_owned());
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let own = t.ok(&a, "id").await?;
    ensure_eq!(field(&own, "uid"), "1000", "the replica's user in `{own}`");
    let other = |user: &str| ExecOptions::new(["/probe", "id"]).user(Some(user.to_owned()));
    let root = t.exec(&a, &other("0")).await?;
    ensure_eq!(field(&root.out, "uid"), "0", "root in `{}`", root.out);
    let number = t.exec(&a, &other("77:88")).await?;
    ensure_eq!(
        field(&number.out, "uid"),
        "77",
        "a user by number in `{}`",
        number.out
    );
    ensure_eq!(
        field(&number.out, "gid"),
        "88",
        "a group by number in `{}`",
        number.out
    );
    Ok(())
}

async fn exec_env_and_dir(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server("").env("KEPT", "1").env("OVER", "old"));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let env = |key: &str| ExecOptions::new(["/probe", "env", key]).env("OVER", "new");
    ensure_eq!(
        t.exec(&a, &env("KEPT")).await?.out,
        "1\n",
        "a variable of the replica"
    );
    ensure_eq!(
        t.exec(&a, &env("OVER")).await?.out,
        "new\n",
        "a variable of the command"
    );
    let cwd = ExecOptions::new(["/probe", "cwd"]).working_dir(Some("/area".to_owned()));
    ensure_eq!(
        t.exec(&a, &cwd).await?.out,
        "/area\n",
        "the working directory"
    );
    Ok(())
}

async fn exec_large_output(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let output = t
        .run(&a, "lines 20000 a line of some length to fill buffers")
        .await?;
    ensure_eq!(output.out.lines().count(), 20_000, "number of lines");
    let last = output.out.lines().last().unwrap_or_default().to_owned();
    ensure!(last.starts_with("19999 "), "the last line: {last}");
    Ok(())
}

async fn exec_tty(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let with = ExecOptions::new(["/probe", "tty"]).tty(Some((80, 24)));
    let output = t.exec(&a, &with).await?;
    ensure_eq!(output.out.trim_end(), "tty", "with a terminal");
    let both = ExecOptions::new(["/probe", "print", "x", "--stderr", "y"]).tty(Some((80, 24)));
    let output = t.exec(&a, &both).await?;
    ensure!(
        output.err.is_empty(),
        "a terminal has one output, not two: {output:?}"
    );
    let without = t.exec(&a, &ExecOptions::new(["/probe", "tty"])).await?;
    ensure_eq!(without.out, "no tty\n", "without a terminal");
    Ok(())
}

async fn exec_needs_a_running_replica(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let kind = async |id: &ReplicaId| {
        let outcome = t
            .client()
            .exec(id, &ExecOptions::new(["/probe", "id"]))
            .await;
        outcome.err().map(|error| error.kind())
    };
    let none = slot(&a.stack, "a", 99);
    ensure_eq!(
        kind(&none).await,
        Some(ErrorKind::NotFound),
        "kind without such a replica"
    );
    t.client()
        .stop(&Selector::replica(&a), None, RunOptions::default())
        .await?;
    ensure_eq!(
        kind(&a).await,
        Some(ErrorKind::WrongPhase),
        "kind in a stopped replica"
    );
    Ok(())
}

async fn exec_side_by_side(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let commands = (0..10).map(|number| {
        let a = &a;
        async move { t.ok(a, &format!("lines 50 {number}")).await }
    });
    let outputs = futures_util::future::try_join_all(commands).await?;
    for (number, out) in outputs.iter().enumerate() {
        let own = out
            .lines()
            .filter(|line| line.ends_with(&format!(" {number}")))
            .count();
        ensure_eq!(
            (own, out.lines().count()),
            (50, 50),
            "lines of command {number}"
        );
    }
    Ok(())
}

async fn exec_ends_with_its_session(t: &Fixture) -> Verdict {
    let a = one(t).await?;
    let options = ExecOptions::new(["/probe", "serve", "--tcp", "81"]);
    let session = t.client().exec(&a, &options).await?;
    t.reach(&a, "connect localhost 81 hello").await?;
    drop(session);
    t.until("the command is gone", || async {
        Ok((t.run(&a, "connect localhost 81 hello").await?.code == 3).then_some(()))
    })
    .await
}
