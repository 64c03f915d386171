//! A program for the inside of a service: prints where the others answer, and every change.
//!
//! `inside [NAME]`: everything that this service may see, or one service, alias or link.

use unmoor::discover::{Endpoint, EndpointEvent};
use unmoor::inside::Inside;

fn main() -> unmoor::Result<()> {
    let name = std::env::args().nth(1);
    let unmoor = Inside::here()?;
    for event in unmoor.watch(name.as_deref()) {
        match event {
            Ok(EndpointEvent::Resync { endpoints, .. }) => {
                println!("{} endpoints", endpoints.len());
                endpoints.iter().for_each(|endpoint| print('=', endpoint));
            }
            Ok(EndpointEvent::Added { endpoint, .. }) => print('+', &endpoint),
            Ok(EndpointEvent::Changed { endpoint, .. }) => print('~', &endpoint),
            Ok(EndpointEvent::Removed { endpoint, .. }) => print('-', &endpoint),
            // It goes on by itself.
            Err(error) => eprintln!("{}", error.chain()),
        }
    }
    Ok(())
}

fn print(mark: char, endpoint: &Endpoint) {
    let Endpoint {
        service,
        address,
        weight,
        ..
    } = endpoint;
    let port = endpoint
        .port
        .map_or(String::new(), |port| format!(":{port}"));
    println!("{mark} {service} {address}{port} weight {weight}");
}
