//! Limits on what a replica may use.

use unmoor_core::backend::Phase;
use unmoor_core::spec::{Resources, RestartPolicy};
use unmoor_core::units::{Bytes, MilliCpu};

use crate::case::{Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};

cases! { "limits";
    /// A program that takes more memory than it may is killed, and that is said.
    memory_limit [Spawn, MemoryLimit, RestartNo];
    /// A program that stays within its memory is not killed.
    memory_within_the_limit [Spawn, MemoryLimit];
    /// A program can start only so many processes, and the replica lives on.
    pids_limit [Spawn, PidsLimit];
    /// A program gets no more processor time than it may.
    cpu_limit [Spawn, CpuLimit];
    /// A replica that was killed for want of memory is restarted if it should be.
    memory_kill_is_a_failure [Spawn, MemoryLimit, RestartOnFailure];
}

fn memory(mib: u64) -> Resources {
    Resources {
        memory: Some(Bytes(mib << 20)),
        ..Resources::default()
    }
}

async fn memory_limit(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.probe("burn 256").resources(memory(48)));
    t.up_only(&stack).await?;
    let replica = t
        .until("it has ended", || async {
            let replica = t.replica(&stack.name, "a").await?;
            Ok(replica.exit.is_some().then_some(replica))
        })
        .await?;
    ensure_eq!(replica.phase, Phase::Failed, "its phase");
    ensure_eq!(
        replica.exit.map(|exit| exit.code),
        Some(137),
        "its exit code"
    );
    ensure_eq!(
        replica.exit.map(|exit| exit.out_of_memory),
        Some(true),
        "killed for memory"
    );
    Ok(())
}

async fn memory_within_the_limit(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server("").resources(memory(64)));
    t.up(&stack).await?;
    let out = t.ok(&slot(&stack.name, "a", 1), "burn 16").await?;
    ensure_eq!(out, "burned 16\n", "what it could take");
    ensure_eq!(
        t.replica(&stack.name, "a").await?.phase,
        Phase::Running,
        "its phase"
    );
    Ok(())
}

async fn pids_limit(t: &Fixture) -> Verdict {
    let limits = Resources {
        pids: Some(20),
        ..Resources::default()
    };
    let stack = t
        .stack()
        .service(named("tight"), t.server("").resources(limits))
        .service(named("free"), t.server(""));
    t.up(&stack).await?;
    let tight = slot(&stack.name, "tight", 1);
    let output = t.run(&tight, "forkmany 60").await?;
    let started: u32 = output
        .out
        .trim()
        .trim_start_matches("started ")
        .parse()
        .unwrap_or(u32::MAX);
    ensure!(
        (1..20).contains(&started),
        "with a limit of 20 it started: {output:?}"
    );
    ensure_eq!(
        t.ok(&tight, "print here").await?,
        "here\n",
        "a command afterwards"
    );
    let free = t.ok(&slot(&stack.name, "free", 1), "forkmany 60").await?;
    ensure_eq!(free, "started 60\n", "without a limit");
    Ok(())
}

async fn cpu_limit(t: &Fixture) -> Verdict {
    let limits = Resources {
        cpu: Some(MilliCpu(200)),
        ..Resources::default()
    };
    let stack = t
        .stack()
        .service(named("a"), t.server("").resources(limits));
    t.up(&stack).await?;
    let out = t.ok(&slot(&stack.name, "a", 1), "spin 1000").await?;
    let used: u64 = out
        .trim()
        .trim_start_matches("cpu ")
        .parse()
        .unwrap_or(u64::MAX);
    ensure!(
        used <= 450,
        "of a second it used {used} ms with a limit of 200: {out}"
    );
    Ok(())
}

async fn memory_kill_is_a_failure(t: &Fixture) -> Verdict {
    let policy = RestartPolicy::OnFailure { max: Some(1) };
    let service = t.probe("burn 256").resources(memory(48)).restart(policy);
    let stack = t.stack().service(named("a"), service);
    t.up_only(&stack).await?;
    t.until("it was restarted and failed again", || async {
        let replica = t.replica(&stack.name, "a").await?;
        Ok((replica.restarts == 1 && replica.phase == Phase::Failed).then_some(()))
    })
    .await
}
