//! `system info`: what the backend is.

use serde_json::json;
use unmoor::backend::Support;
use unmoor::label::Selector;

use crate::app::App;
use crate::args::Format;
use crate::exit::Code;
use crate::verbs::Outcome;

/// How it is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let client = app.connect().await?;
    let info = client.info();
    let observed = client.observe(&Selector::all()).await?;
    let running = observed
        .replicas()
        .filter(|replica| replica.phase.is_alive())
        .count();
    let replicas = observed.replicas().count();
    let images = match client.images() {
        Ok(images) => Some(images.list().await?.len()),
        Err(_) => None,
    };
    let capabilities = client.probe().await?;
    let limited: Vec<String> = capabilities
        .iter()
        .filter_map(|(feature, capability)| match &capability.support {
            Support::Limited(limit) => Some(format!("{feature}: {limit}")),
            Support::Unsupported(hint) => Some(format!("no {feature}: {hint}")),
            _ => None,
        })
        .collect();
    if args.format == Format::Json {
        app.out.json(&json!({
            "context": app.context(), "backend": info, "stacks": observed.stacks.len(),
            "replicas": replicas, "running": running, "images": images, "limits": limited,
            "client": env!("CARGO_PKG_VERSION"),
        }))?;
        return Ok(Code::DONE);
    }
    let mut lines = vec![
        format!("client:   {}", env!("CARGO_PKG_VERSION")),
        format!("context:  {}", app.context()),
        format!("backend:  {} ({} {})", info.uri, info.scheme, info.version),
        format!("on:       {}", info.detail),
        format!("stacks:   {}", observed.stacks.len()),
        format!("replicas: {replicas}, {running} running"),
    ];
    lines.extend(images.map(|count| format!("images:   {count}")));
    lines.extend(limited.iter().map(|text| format!("limit:    {text}")));
    app.out
        .lines(lines.iter().map(|line| crate::output::clean(line)))?;
    Ok(Code::DONE)
}
