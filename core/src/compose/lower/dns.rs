//! `dns`, `dns_search`, `dns_opt`: who is asked for names that the stack does not have.

use std::net::IpAddr;

use crate::spec::{NetworkMode, Service};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;

const KEYS: [&str; 3] = ["dns", "dns_search", "dns_opt"];

/// Reads them; what is said about networks is read before.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    for key in KEYS {
        let Some(field) = at.get(key).filter(|field| !field.node.is_null()) else {
            continue;
        };
        if service.network_mode != NetworkMode::Networks {
            let text = "has no effect without networks of the stack";
            cx.warn(&field, Level::Ignored, text);
            continue;
        }
        for item in field.one_or_many(cx) {
            match key {
                "dns" => service.dns.servers.extend(server(&item, cx)),
                "dns_search" => service.dns.search.extend(domain(&item, cx)),
                _ => service.dns.options.extend(word(&item, cx)),
            }
        }
    }
}

fn server(item: &At<'_>, cx: &mut Context<'_>) -> Option<IpAddr> {
    let text = item.text(cx)?;
    if text.is_empty() {
        return None;
    }
    if cx.given_addresses.contains(&text) {
        let text = "is to be the address of a service, and addresses are chosen: it is not asked";
        cx.warn(item, Level::Ignored, text);
        return None;
    }
    let address = text.parse().ok();
    if address.is_none() {
        cx.error(item, format!("`{}` is not an IP address", shown(&text)));
    }
    address
}

/// A domain; an empty one is as the one that stands for none.
fn domain(item: &At<'_>, cx: &mut Context<'_>) -> Option<String> {
    match item.text(cx)?.as_str() {
        "" => Some(".".to_owned()),
        _ => word(item, cx),
    }
}

/// One word of a line of the resolver's file.
fn word(item: &At<'_>, cx: &mut Context<'_>) -> Option<String> {
    let text = item.text(cx)?;
    if text.is_empty() {
        return None;
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        cx.error(item, format!("`{}` is not one word", shown(&text)));
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use crate::compose::{Environment, LoadOptions, Source, load};
    use crate::spec::Dns;

    fn read(keys: &str) -> Result<Dns, String> {
        let text = format!("name: t\nservices:\n  a: {{image: x, {keys}}}\n");
        let sources = [Source::new("c.yaml", text)];
        let loaded = load(&sources, &Environment::new(), &LoadOptions::default());
        let loaded = loaded.map_err(|failed| failed.to_string())?;
        let service = loaded.stack.services.into_values().next();
        Ok(service.expect("one").dns)
    }

    #[test]
    fn an_empty_domain_is_none_and_an_empty_server_nobody() {
        let dns = read("dns: '', dns_search: '', dns_opt: ['']").expect("valid");
        assert_eq!((dns.servers, dns.search), (vec![], vec![".".to_owned()]));
        assert!(dns.options.is_empty());
    }

    #[test]
    fn what_no_resolver_reads_is_refused() {
        assert!(read("dns: nobody").is_err_and(|said| said.contains("is not an IP address")));
        assert!(read("dns_search: ['a b']").is_err_and(|said| said.contains("is not one word")));
        assert!(read("dns: ['1.1.1.1', '::1'], dns_search: a.test").is_ok());
    }
}
