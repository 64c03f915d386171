//! `port`: where a port of a service is published.

use unmoor::name::ServiceName;
use unmoor::spec::Protocol;
use unmoor::{Error, ErrorKind};

use crate::app::App;
use crate::exit::Code;
use crate::select;
use crate::verbs::Outcome;

/// Show where a port of a service is published on the node.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// tcp or udp
    #[arg(long, default_value = "tcp", value_parser = protocol)]
    protocol: Protocol,
    /// Which replica, counted from 1
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// The service
    #[arg(add = crate::complete::of_services())]
    service: ServiceName,
    /// The port inside
    private_port: u16,
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err("use tcp or udp".to_owned()),
    }
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let replica = select::running(app, (&client, &stack), &args.service, args.index).await?;
    let selector = unmoor::label::Selector::replica(&replica);
    let observed = client.observe(&selector).await?;
    let ports = observed.replicas().flat_map(|replica| &replica.ports);
    let found: Vec<String> = ports
        .filter(|port| port.target == args.private_port && port.protocol == args.protocol)
        .filter_map(|port| Some((port.host_ip, port.host_port?.first)))
        .map(|(address, port)| match address {
            Some(address) => std::net::SocketAddr::new(address, port).to_string(),
            None => format!("0.0.0.0:{port}"),
        })
        .collect();
    if found.is_empty() {
        let text = format!(
            "port {}/{} is not published",
            args.private_port, args.protocol
        );
        return Err(Error::new(ErrorKind::NotFound, text)
            .on(format!("replica {replica}"))
            .into());
    }
    app.out.lines(&found)?;
    Ok(Code::DONE)
}
