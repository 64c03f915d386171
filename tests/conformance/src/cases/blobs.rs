//! Secrets and configs.

use unmoor_core::label::Selector;
use unmoor_core::name::BlobName;
use unmoor_core::spec::{Blob, BlobGrant, BlobKind, BlobSource, SecretBytes, Stack};

use crate::case::{Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};

cases! { "blobs";
    /// A secret is a file with its content, mode and owner, at its default place or another.
    secret_file_mode_and_content [Spawn, Secrets];
    /// A secret that only its owner may read is closed to other users.
    secret_is_closed_to_others [Spawn, Secrets, User, LinuxCapabilities];
    /// A secret shows in nothing that is observed, planned, logged or said in errors.
    secrets_nowhere_in_observe_or_errors [Spawn, Secrets];
    /// A config is a file with its content, at its default place or another.
    config_file [Spawn, Configs];
    /// A changed secret or config replaces the services that use it, and only those.
    changed_config_replaces_its_users [Spawn, Configs];
    /// A secret is gone with its stack.
    secret_goes_with_its_stack [Spawn, Secrets];
}

const CONTENT: &str = "correct-horse-battery-staple";

fn blob(name: &str) -> BlobName {
    BlobName::parse(name).expect("a valid name")
}

fn inline(content: &str) -> Blob {
    Blob {
        source: BlobSource::Inline(SecretBytes::new(content)),
    }
}

fn with_secret(mut stack: Stack, name: &str) -> Stack {
    stack.secrets.insert(blob(name), inline(CONTENT));
    stack
}

fn with_config(mut stack: Stack, name: &str, content: &str) -> Stack {
    stack.configs.insert(blob(name), inline(content));
    stack
}

async fn secret_file_mode_and_content(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service
        .secrets
        .push(BlobGrant::new(BlobKind::Secret, blob("pass")));
    service.secrets.push(BlobGrant {
        target: "/area/deep/er/pass".to_owned(),
        uid: 1000,
        gid: 2000,
        mode: 0o440,
        ..BlobGrant::new(BlobKind::Secret, blob("pass"))
    });
    let stack = with_secret(t.stack(), "pass").service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    ensure_eq!(
        t.ok(&a, "read /run/secrets/pass").await?,
        CONTENT,
        "content at the default place"
    );
    let size = CONTENT.len();
    let stat = t.ok(&a, "stat /run/secrets/pass").await?;
    ensure_eq!(
        stat,
        format!("0444 0 0 {size} file\n"),
        "mode and owner by default"
    );
    let stat = t.ok(&a, "stat /area/deep/er/pass").await?;
    ensure_eq!(
        stat,
        format!("0440 1000 2000 {size} file\n"),
        "mode and owner as given"
    );
    ensure_eq!(
        t.ok(&a, "read /area/deep/er/pass").await?,
        CONTENT,
        "content at another place"
    );
    Ok(())
}

async fn secret_is_closed_to_others(t: &Fixture) -> Verdict {
    let with = |user: &str| {
        let mut service = t.server("");
        service.user = Some(user.to_owned());
        service.secrets.push(BlobGrant {
            uid: 1000,
            mode: 0o400,
            ..BlobGrant::new(BlobKind::Secret, blob("pass"))
        });
        service
    };
    let stack = with_secret(t.stack(), "pass")
        .service(named("owner"), with("1000"))
        .service(named("other"), with("1001"));
    t.up(&stack).await?;
    let read = "read /run/secrets/pass";
    ensure_eq!(
        t.ok(&slot(&stack.name, "owner", 1), read).await?,
        CONTENT,
        "for its owner"
    );
    let other = t.run(&slot(&stack.name, "other", 1), read).await?;
    ensure_eq!(other.code, 1, "exit code for another user");
    ensure!(
        other.err.contains("permission denied"),
        "its reason: {}",
        other.err
    );
    Ok(())
}

async fn secrets_nowhere_in_observe_or_errors(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service
        .secrets
        .push(BlobGrant::new(BlobKind::Secret, blob("pass")));
    let mut broken = t.probe("").entrypoint(["/not/there"]);
    broken
        .secrets
        .push(BlobGrant::new(BlobKind::Secret, blob("pass")));
    let good = with_secret(t.stack(), "pass").service(named("a"), service);
    let bad = with_secret(t.stack(), "pass").service(named("b"), broken);
    let planned = t.client().plan(&good, &Default::default()).await?;
    t.up(&good).await?;
    let mut said = vec![
        ("plan", planned.plan.to_string()),
        ("plan in detail", format!("{:?}", planned.plan)),
        (
            "plan as stored",
            serde_json::to_string(&planned.plan).unwrap_or_default(),
        ),
    ];
    if let Err(error) = t.up(&bad).await {
        said.push(("error", format!("{error:?} {}", error.chain())));
    }
    for stack in [&good.name, &bad.name] {
        let observed = t.client().observe(&Selector::stack(stack.clone())).await?;
        said.push(("observed", format!("{observed:?}")));
        let as_json = serde_json::to_string(&observed.stack(stack)).unwrap_or_default();
        said.push(("observed as JSON", as_json));
        said.push(("record", format!("{:?}", t.client().record(stack).await?)));
        if let Some(state) = t.backend().state() {
            let stored = state
                .load(stack)
                .await?
                .map(|(bytes, _)| bytes)
                .unwrap_or_default();
            said.push((
                "stored record",
                String::from_utf8_lossy(&stored).into_owned(),
            ));
        }
    }
    for (what, text) in said {
        ensure!(!text.contains(CONTENT), "the {what} shows the secret");
    }
    Ok(())
}

async fn config_file(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service
        .configs
        .push(BlobGrant::new(BlobKind::Config, blob("settings.ini")));
    service.configs.push(BlobGrant {
        target: "/etc/app.conf".to_owned(),
        mode: 0o600,
        ..BlobGrant::new(BlobKind::Config, blob("settings.ini"))
    });
    let content = "a = 1\nb = \"two\"\n";
    let stack = with_config(t.stack(), "settings.ini", content).service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    ensure_eq!(
        t.ok(&a, "read /settings.ini").await?,
        content,
        "content at the default place"
    );
    ensure_eq!(
        t.ok(&a, "read /etc/app.conf").await?,
        content,
        "content at another place"
    );
    let stat = t.ok(&a, "stat /etc/app.conf").await?;
    ensure!(
        stat.starts_with("0600 0 0 "),
        "mode and owner as given: {stat}"
    );
    Ok(())
}

async fn changed_config_replaces_its_users(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let stack = |content: &str| {
        let mut user = t.server("");
        user.configs
            .push(BlobGrant::new(BlobKind::Config, blob("settings")));
        with_config(Stack::new(name.clone()), "settings", content)
            .service(named("user"), user)
            .service(named("other"), t.server(""))
    };
    t.up(&stack("one")).await?;
    let other = t.replica(&name, "other").await?;
    t.up(&stack("two")).await?;
    let user = t.replica(&name, "user").await?;
    ensure_eq!(
        t.ok(&user.id, "read /settings").await?,
        "two",
        "what the user of it reads"
    );
    ensure_eq!(
        t.replica(&name, "other").await?.started,
        other.started,
        "start of the other"
    );
    ensure_eq!(
        t.up(&stack("two")).await?.changed,
        0,
        "actions of another `up` that wrote"
    );
    Ok(())
}

async fn secret_goes_with_its_stack(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service
        .secrets
        .push(BlobGrant::new(BlobKind::Secret, blob("pass")));
    let stack = with_secret(t.stack(), "pass").service(named("a"), service);
    t.up(&stack).await?;
    ensure_eq!(
        t.observe(&stack.name).await?.blobs.len(),
        1,
        "secrets while it runs"
    );
    t.down(&stack.name).await?;
    ensure!(
        t.observe(&stack.name).await?.blobs.is_empty(),
        "the secret is left"
    );
    Ok(())
}
