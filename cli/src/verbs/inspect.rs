//! `inspect`: everything known about a service or a replica, as JSON.

use serde_json::{Value, json};
use unmoor::backend::ObservedStack;
use unmoor::label::Selector;
use unmoor::name::{ServiceName, StackName};
use unmoor::{Client, Error, ErrorKind};

use crate::app::App;
use crate::exit::{Code, Failure};
use crate::verbs::Outcome;
use crate::view;

/// Show everything known about a service or a replica, as JSON.
///
/// Contents of secrets are not shown; variables are.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A service, or a replica as `ps` names it
    #[arg(value_name = "SERVICE|REPLICA", add = crate::complete::of_replicas())]
    name: String,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let observed = client
        .observe(&Selector::stack(stack.clone()))
        .await?
        .stack(&stack);
    let found = match replica(&observed, &stack, &args.name) {
        Some(value) => Some(value),
        None => service(&client, &observed, &stack, &args.name).await?,
    };
    let Some(value) = found else {
        let text = format!("there is no service and no replica `{}`", args.name);
        let error = Error::new(ErrorKind::NotFound, text).on(&stack);
        return Err(error.hint("`unmoor ps -a` lists replicas").into());
    };
    app.out.json(&value)?;
    Ok(Code::DONE)
}

/// A replica by its whole name, or by its name within the stack.
fn replica(observed: &ObservedStack, stack: &StackName, name: &str) -> Option<Value> {
    let short = format!("{stack}-{name}");
    let mut replicas = observed.replicas.iter();
    let found = replicas.find(|replica| {
        let id = replica.id.to_string();
        id == name || id == short
    })?;
    let mut value = view::replica(found);
    value["spec_hash"] = json!(found.spec_hash);
    Some(value)
}

async fn service(
    client: &Client,
    observed: &ObservedStack,
    stack: &StackName,
    name: &str,
) -> Result<Option<Value>, Failure> {
    let Ok(name) = ServiceName::parse(name) else {
        return Ok(None);
    };
    let record = client.record(stack).await?;
    let by_hand = record.hand.services.contains_key(&name);
    let wanted = record.effective(stack).services.remove(&name);
    let declared = observed.services.get(&name);
    let replicas: Vec<Value> = observed.replicas_of(&name).map(view::replica).collect();
    if wanted.is_none() && declared.is_none() && replicas.is_empty() {
        return Ok(None);
    }
    let endpoints = client
        .discover(&Selector::service(stack.clone(), name.clone()))
        .await?;
    Ok(Some(json!({
        "service": name, "stack": stack, "by_hand": by_hand, "wanted": wanted,
        "declared": declared, "replicas": replicas, "endpoints": endpoints.list,
    })))
}
