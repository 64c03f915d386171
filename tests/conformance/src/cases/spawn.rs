//! Starting services: what runs, as whom, where, with which variables.

use std::collections::BTreeMap;

use unmoor_core::ErrorKind;
use unmoor_core::backend::{LogOptions, Phase};
use unmoor_core::label::Selector;
use unmoor_core::spec::{Device, Mount, MountSource, NetworkMode, Placement, Rlimit};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};

cases! { "spawn";
    /// Every replica of every service runs after `up` that waits.
    up_starts_all [Spawn];
    /// The same stack a second time writes nothing, and its plan is empty.
    up_twice_writes_nothing [Spawn];
    /// A single service is spawned, observed through its handle, and removed.
    spawn_one_service [Spawn];
    /// A program that is not in the image is named by the error of `up`, and ends with 127 if at all.
    missing_program_is_refused [Spawn, RestartNo];
    /// The service's entrypoint and command replace the image's.
    entrypoint_and_command [Spawn, Logs, RestartNo];
    /// Variables of the image and of the service reach the program; the service's win.
    environment_reaches_the_program [Spawn, Exec];
    /// A replica's own program sees the service's variables, not only commands beside it.
    main_program_has_the_variables [Spawn, Logs, RestartNo];
    /// The working directory is the service's.
    working_dir [Spawn, Exec];
    /// A replica's host name is its own name, or the one the service gives.
    hostname [Spawn];
    /// The program runs as the user of the service, with that user's groups.
    user_and_groups [Spawn, User];
    /// Nothing can be written to a read-only root file system; memory mounts stay writable.
    read_only_root [Spawn, ReadOnlyRoot, Tmpfs];
    /// Without settings a service has the usual Linux capabilities and no more.
    capabilities_by_default [Spawn, LinuxCapabilities];
    /// Dropping all capabilities and adding one leaves that one.
    capabilities_dropped_and_added [Spawn, LinuxCapabilities];
    /// A privileged service has the right to administer its node.
    privileged [Spawn, Privileged];
    /// A device of the node can be used under the name that it is given inside.
    devices [Spawn, Devices];
    /// Kernel parameters of the service are in force inside.
    sysctls [Spawn, Sysctls];
    /// Parameters of the network's core are in force inside, where the kernel shows them to replicas.
    core_sysctls [Spawn, Sysctls];
    /// Process limits of the service are in force inside.
    ulimits [Spawn, Ulimits];
    /// Memory mounts are empty at first, writable, and have the wanted mode.
    tmpfs [Spawn, Tmpfs];
    /// A service that asks for a terminal has one.
    tty [Spawn, Tty, Logs, RestartNo];
    /// Lines for the hosts file resolve inside.
    extra_hosts [Spawn, ExtraHosts];
    /// Behind a small init the program is not the first process.
    init [Spawn, Init];
    /// Services on the network of their node reach each other by its loopback address.
    host_network [Spawn, HostNetwork];
    /// A placement that no node meets starts nothing.
    placement_that_nothing_meets [Spawn, Placement];
}

async fn up_starts_all(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("b"), t.server(""))
        .service(named("c"), t.server(""));
    let report = t.up(&stack).await?;
    ensure!(
        report.changed >= 6,
        "only {} actions wrote something",
        report.changed
    );
    let seen = t.observe(&stack.name).await?;
    for service in ["a", "b", "c"] {
        let replica = t.replica(&stack.name, service).await?;
        ensure_eq!(replica.phase, Phase::Running, "phase of {service}");
        ensure_eq!(
            replica.id,
            slot(&stack.name, service, 1),
            "name of the replica"
        );
        ensure!(
            seen.services.contains_key(&named(service)),
            "{service} is not declared"
        );
        let out = t.ok(&replica.id, "print here").await?;
        ensure_eq!(out, "here\n", "what a command inside prints");
    }
    Ok(())
}

async fn up_twice_writes_nothing(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("web"), t.server("").env("A", "b"))
        .service(named("db"), t.server(""));
    t.up(&stack).await?;
    let before = t.observe(&stack.name).await?;
    let planned = t.client().plan(&stack, &Default::default()).await?;
    ensure!(
        planned.plan.is_empty(),
        "the plan is not empty:\n{}",
        planned.plan
    );
    let report = t.up(&stack).await?;
    ensure_eq!(report.changed, 0, "actions of the second `up` that wrote");
    let after = t.observe(&stack.name).await?;
    for (old, new) in before.replicas.iter().zip(&after.replicas) {
        ensure_eq!(old.started, new.started, "start of {}", old.id);
        ensure_eq!(old.id, new.id, "name of a replica");
    }
    Ok(())
}

async fn spawn_one_service(t: &Fixture) -> Verdict {
    let client = t.client().in_stack(t.stack_name());
    let handle = client.spawn(named("one"), t.server("")).await?;
    handle.wait_ready(PATIENCE).await?;
    let replicas = handle.replicas().await?;
    ensure_eq!(replicas.len(), 1, "number of replicas");
    ensure_eq!(replicas[0].phase, Phase::Running, "its phase");
    handle.remove().await?;
    ensure!(
        handle.replicas().await?.is_empty(),
        "a replica is left after removing the service"
    );
    Ok(())
}

async fn missing_program_is_refused(t: &Fixture) -> Verdict {
    let odd = t.probe("").entrypoint(["/not/there"]);
    let stack = t.stack().service(named("odd"), odd);
    let Err(error) = t.up(&stack).await else {
        return Err("`up` says that a program that is not there serves"
            .to_owned()
            .into());
    };
    let text = error.chain();
    ensure!(
        text.contains("/not/there"),
        "the error does not name the program: {text}"
    );
    // Whether what could not start is kept to be looked at is the backend's choice.
    for replica in t.replicas(&stack.name, "odd").await? {
        ensure_eq!(replica.phase, Phase::Failed, "its phase");
        ensure_eq!(
            replica.exit.map(|exit| exit.code),
            Some(127),
            "its exit code"
        );
    }
    Ok(())
}

/// Everything that the selected replicas wrote, once they have ended.
pub(super) async fn log_of(t: &Fixture, selector: &Selector) -> Result<Vec<String>, Failure> {
    use futures_util::TryStreamExt;
    t.until("every replica has ended", || async {
        let observed = t.client().observe(selector).await?;
        let over = |phase| matches!(phase, Phase::Stopped | Phase::Failed);
        let ended = observed.replicas().all(|replica| over(replica.phase));
        Ok((ended && observed.replicas().next().is_some()).then_some(()))
    })
    .await?;
    let stream = t.client().logs(selector, &LogOptions::new()).await?;
    let lines: Vec<_> = stream.try_collect().await?;
    Ok(lines.into_iter().map(|line| line.text).collect())
}

async fn entrypoint_and_command(t: &Fixture) -> Verdict {
    let whole = t
        .probe("")
        .entrypoint(["/probe", "print", "one"])
        .command(["two", "three"]);
    let mut bare = t.probe("").entrypoint(["/probe", "print", "alone"]);
    bare.command = None;
    let stack = t
        .stack()
        .service(named("whole"), whole)
        .service(named("bare"), bare);
    t.up_only(&stack).await?;
    let of = |service| Selector::service(stack.name.clone(), named(service));
    ensure_eq!(
        log_of(t, &of("whole")).await?,
        ["one", "two", "three"],
        "what it printed"
    );
    ensure_eq!(
        log_of(t, &of("bare")).await?,
        ["alone"],
        "the image's command was not dropped"
    );
    Ok(())
}

async fn environment_reaches_the_program(t: &Fixture) -> Verdict {
    let service = t
        .server("")
        .env("PLAIN", "value")
        .env("ODD", "a=b c $d \"e\"")
        .env("EMPTY", "");
    let changed = t.server("").env("PROBE_IMAGE", "mine");
    let stack = t
        .stack()
        .service(named("a"), service)
        .service(named("b"), changed);
    t.up(&stack).await?;
    let (a, b) = (slot(&stack.name, "a", 1), slot(&stack.name, "b", 1));
    ensure_eq!(
        t.ok(&a, "env PLAIN").await?,
        "value\n",
        "a variable of the service"
    );
    ensure_eq!(
        t.ok(&a, "env ODD").await?,
        "a=b c $d \"e\"\n",
        "a value with odd characters"
    );
    ensure_eq!(t.ok(&a, "env EMPTY").await?, "\n", "an empty value");
    ensure_eq!(
        t.ok(&a, "env PROBE_IMAGE").await?,
        "1\n",
        "a variable of the image"
    );
    ensure_eq!(
        t.ok(&b, "env PROBE_IMAGE").await?,
        "mine\n",
        "the service's over the image's"
    );
    let none = t.run(&a, "env NOT_SET").await?;
    ensure_eq!(none.code, 1, "exit code for a variable that is not set");
    Ok(())
}

async fn main_program_has_the_variables(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.probe("env PLAIN").env("PLAIN", "value"));
    t.up_only(&stack).await?;
    let lines = log_of(t, &Selector::stack(stack.name.clone())).await?;
    ensure_eq!(lines, ["value"], "what the program found");
    Ok(())
}

async fn working_dir(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service.working_dir = Some("/area".to_owned());
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    ensure_eq!(t.ok(&a, "cwd").await?, "/area\n", "the working directory");
    t.ok(&a, "write here text").await?;
    ensure_eq!(
        t.ok(&a, "read /area/here").await?,
        "text",
        "a relative path"
    );
    Ok(())
}

async fn hostname(t: &Fixture) -> Verdict {
    let mut given = t.server("");
    given.hostname = Some("given-name".to_owned());
    let stack = t
        .stack()
        .service(named("plain"), t.server(""))
        .service(named("given"), given);
    t.up(&stack).await?;
    let plain = slot(&stack.name, "plain", 1);
    ensure_eq!(
        t.ok(&plain, "hostname").await?,
        format!("{plain}\n"),
        "the host name by default"
    );
    let given = slot(&stack.name, "given", 1);
    ensure_eq!(
        t.ok(&given, "hostname").await?,
        "given-name\n",
        "the host name as given"
    );
    Ok(())
}

/// One field of what `id` prints.
pub(super) fn field(text: &str, name: &str) -> String {
    let mut words = text.split_whitespace();
    let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_default().to_owned()
}

async fn user_and_groups(t: &Fixture) -> Verdict {
    let with = |user: &str| {
        let mut service = t.server("");
        service.user = Some(user.to_owned());
        service
    };
    let mut more = with("1234:5678");
    more.security.groups = ["4321", "extra"].map(str::to_owned).to_vec();
    let stack = t
        .stack()
        .service(named("number"), with("1234:5678"))
        .service(named("name"), with("app"))
        .service(named("more"), more)
        .service(named("root"), t.server(""));
    t.up(&stack).await?;
    let id = async |service| t.ok(&slot(&stack.name, service, 1), "id").await;
    let number = id("number").await?;
    ensure_eq!(
        field(&number, "uid"),
        "1234",
        "user by number in `{number}`"
    );
    ensure_eq!(
        field(&number, "gid"),
        "5678",
        "group by number in `{number}`"
    );
    let name = id("name").await?;
    ensure_eq!(field(&name, "uid"), "1000", "user by name in `{name}`");
    ensure_eq!(
        field(&name, "groups"),
        "1000,2000",
        "groups of the name in `{name}`"
    );
    let more = field(&id("more").await?, "groups");
    ensure_eq!(more, "2000,4321,5678", "groups that the service adds");
    let root = id("root").await?;
    ensure_eq!(field(&root, "uid"), "0", "user by default in `{root}`");
    Ok(())
}

async fn read_only_root(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service.security.read_only = true;
    service.mounts.push(memory("/scratch", 0o1777));
    let stack = t
        .stack()
        .service(named("a"), service)
        .service(named("b"), t.server(""));
    t.up(&stack).await?;
    let (a, b) = (slot(&stack.name, "a", 1), slot(&stack.name, "b", 1));
    let refused = t.run(&a, "write /area/x text").await?;
    ensure_eq!(
        refused.code,
        1,
        "exit code of a write to the read-only root"
    );
    ensure!(
        refused.err.contains("read-only"),
        "its reason: {}",
        refused.err
    );
    t.ok(&a, "write /scratch/x text").await?;
    t.ok(&b, "write /area/x text").await?;
    Ok(())
}

fn memory(target: &str, mode: u32) -> Mount {
    Mount {
        source: MountSource::Tmpfs { size: None, mode },
        target: target.to_owned(),
        read_only: false,
    }
}

async fn capabilities_by_default(t: &Fixture) -> Verdict {
    let mut app = t.server("");
    app.user = Some("1000".to_owned());
    let stack = t
        .stack()
        .service(named("root"), t.server(""))
        .service(named("app"), app);
    t.up(&stack).await?;
    let root = t.ok(&slot(&stack.name, "root", 1), "id").await?;
    ensure_eq!(
        field(&root, "caps"),
        "00000000a80425fb",
        "capabilities of root in `{root}`"
    );
    if t.has(unmoor_core::backend::Feature::User) {
        let app = t.ok(&slot(&stack.name, "app", 1), "id").await?;
        ensure_eq!(
            field(&app, "caps"),
            "0000000000000000",
            "capabilities of a user in `{app}`"
        );
    }
    Ok(())
}

async fn capabilities_dropped_and_added(t: &Fixture) -> Verdict {
    let mut one = t.server("");
    one.security.cap_drop = vec!["ALL".to_owned()];
    one.security.cap_add = vec!["NET_BIND_SERVICE".to_owned()];
    let mut less = t.server("");
    less.security.cap_drop = vec!["CAP_CHOWN".to_owned()];
    let stack = t
        .stack()
        .service(named("one"), one)
        .service(named("less"), less);
    t.up(&stack).await?;
    let one = t.ok(&slot(&stack.name, "one", 1), "id").await?;
    ensure_eq!(
        field(&one, "caps"),
        "0000000000000400",
        "the one that was added, in `{one}`"
    );
    let less = t.ok(&slot(&stack.name, "less", 1), "id").await?;
    ensure_eq!(
        field(&less, "caps"),
        "00000000a80425fa",
        "all but the dropped one, in `{less}`"
    );
    Ok(())
}

async fn privileged(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service.security.privileged = true;
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let id = t.ok(&slot(&stack.name, "a", 1), "id").await?;
    let caps = u64::from_str_radix(&field(&id, "caps"), 16).unwrap_or_default();
    ensure!(caps & (1 << 21) != 0, "it cannot administer its node: {id}");
    Ok(())
}

async fn devices(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service.security.devices.push(Device {
        source: "/dev/null".to_owned(),
        target: "/dev/nothing".to_owned(),
        access: "rwm".to_owned(),
    });
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    t.ok(&a, "append /dev/nothing text").await?;
    let read = t.ok(&a, "read /dev/nothing").await?;
    ensure_eq!(read, "", "what the null device gives back");
    Ok(())
}

async fn sysctls(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    let settings = [
        ("net.ipv4.ip_unprivileged_port_start", "1024"),
        ("net.ipv4.tcp_keepalive_time", "777"),
    ];
    service.security.sysctls = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    for (key, value) in settings {
        let path = format!("read /proc/sys/{}", key.replace('.', "/"));
        ensure_eq!(t.ok(&a, &path).await?.trim_end(), value, "{key}");
    }
    Ok(())
}

async fn core_sysctls(t: &Fixture) -> Verdict {
    let (key, value) = ("net.core.somaxconn", "777");
    let mut service = t.server("");
    service.security.sysctls = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let stack = t.stack().service(named("a"), service);
    match t.up(&stack).await {
        // Older kernels, 6.1 among them, show them to the first user namespace only.
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Err(Failure::Skipped(error.to_string()));
        }
        other => other?,
    };
    let a = slot(&stack.name, "a", 1);
    let read = t.ok(&a, "read /proc/sys/net/core/somaxconn").await?;
    ensure_eq!(read.trim_end(), value, "{key}");
    Ok(())
}

async fn ulimits(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    let limit = Rlimit {
        soft: 123,
        hard: 456,
    };
    service.security.ulimits = BTreeMap::from([("nofile".to_owned(), limit)]);
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let limits = t.ok(&slot(&stack.name, "a", 1), "limits").await?;
    ensure_eq!(limits, "nofile=123:456\n", "the limit of open files");
    Ok(())
}

async fn tmpfs(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service.mounts.push(memory("/area", 0o700));
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let stat = t.ok(&a, "stat /area").await?;
    ensure!(
        stat.starts_with("0700 0 0 "),
        "mode and owner of its root: {stat}"
    );
    t.ok(&a, "write /area/x text").await?;
    ensure_eq!(t.ok(&a, "read /area/x").await?, "text", "what was written");
    Ok(())
}

async fn tty(t: &Fixture) -> Verdict {
    let mut service = t.probe("tty");
    service.tty = true;
    let stack = t
        .stack()
        .service(named("with"), service)
        .service(named("without"), t.probe("tty"));
    t.up_only(&stack).await?;
    let of = |service| Selector::service(stack.name.clone(), named(service));
    let lines = log_of(t, &of("with")).await?;
    // A terminal ends lines with a carriage return too; whether it is kept is not claimed.
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    ensure_eq!(lines, ["tty"], "the one that asked for a terminal");
    ensure_eq!(
        log_of(t, &of("without")).await?,
        ["no tty"],
        "the one that did not"
    );
    Ok(())
}

async fn extra_hosts(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service
        .extra_hosts
        .push(("elsewhere.example".to_owned(), "192.0.2.7".to_owned()));
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let found = t
        .ok(&slot(&stack.name, "a", 1), "resolve elsewhere.example")
        .await?;
    ensure_eq!(found, "192.0.2.7\n", "the line's address");
    Ok(())
}

async fn init(t: &Fixture) -> Verdict {
    let mut service = t.server("--tcp 80");
    service.init = true;
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let id = t
        .ok(&slot(&stack.name, "a", 1), "connect localhost 80 id")
        .await?;
    ensure!(
        field(&id, "pid") != "1",
        "the program is the first process: {id}"
    );
    Ok(())
}

async fn host_network(t: &Fixture) -> Verdict {
    // A port that little else uses; the claim is about reaching, not about choosing.
    let port = 29_317;
    let mut server = t.probe(&format!("serve --name on-node --tcp {port}"));
    server.network_mode = NetworkMode::Host;
    let mut client = t.probe("sleep");
    client.network_mode = NetworkMode::Host;
    let stack = t
        .stack()
        .service(named("server"), server)
        .service(named("client"), client);
    t.up(&stack).await?;
    let words = format!("connect 127.0.0.1 {port} hello");
    let answer = t
        .until_says(&slot(&stack.name, "client", 1), &words, |out| {
            out.contains("on-node")
        })
        .await?;
    ensure!(answer.ends_with(" on-node\n"), "who answered: {answer}");
    Ok(())
}

async fn placement_that_nothing_meets(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    let constraints = vec!["node.labels.conformance == nowhere".to_owned()];
    service.placement = Placement { constraints };
    let stack = t.stack().service(named("a"), service);
    let outcome = t.up_only(&stack).await;
    t.pass(std::time::Duration::from_secs(2)).await;
    let replicas = t.replicas(&stack.name, "a").await?;
    let runs = replicas
        .iter()
        .any(|replica| replica.phase == Phase::Running);
    ensure!(!runs, "it runs on a node that does not exist ({outcome:?})");
    Ok(())
}
