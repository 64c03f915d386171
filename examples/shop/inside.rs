//! A program for the inside of a service: prints where the others answer, and every change.
//!
//! `inside [--once] [NAME]`: everything that this service may see, or one service, alias or link.

use unmoor::discover::{Endpoint, EndpointEvent};
use unmoor::inside::Inside;

fn main() -> unmoor::Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let once = words.first().is_some_and(|word| word == "--once");
    let name = words.split_off(usize::from(once)).pop();
    let unmoor = Inside::here()?;
    if once {
        let found = match &name {
            Some(name) => unmoor.discover_name(name)?,
            None => unmoor.discover()?,
        };
        found.iter().for_each(|endpoint| print('=', endpoint));
        return Ok(());
    }
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
