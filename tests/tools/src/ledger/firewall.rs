//! nftables objects, through the `nft` program where it is installed.

use std::io;
use std::process::Command;

use serde_json::Value;

use super::{Ledger, LedgerError, Section};

pub(super) fn read(ledger: &mut Ledger) -> Result<(), LedgerError> {
    let output = match Command::new("nft").args(["-j", "list", "ruleset"]).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ledger
                .notes
                .push("firewall rules were not compared: nft is not installed".to_owned());
            return Ok(());
        }
        Err(error) => return Err(tool(error.to_string())),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("Operation not permitted") {
            ledger
                .notes
                .push("firewall rules were not compared: nft needs root".to_owned());
            return Ok(());
        }
        return Err(tool(said.trim().to_owned()));
    }
    let listing =
        serde_json::from_slice(&output.stdout).map_err(|error| tool(error.to_string()))?;
    for object in objects(listing) {
        ledger.add(Section::Firewall, object);
    }
    Ok(())
}

fn tool(detail: String) -> LedgerError {
    LedgerError::Tool {
        tool: "nft",
        detail,
    }
}

fn objects(listing: Value) -> Vec<String> {
    let Some(Value::Array(items)) = listing.get("nftables").cloned() else {
        return Vec::new();
    };
    items
        .into_iter()
        .filter(|item| item.get("metainfo").is_none())
        .map(|mut item| {
            strip(&mut item);
            item.to_string()
        })
        .collect()
}

/// Handles are given out anew and counters count; neither is a difference.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("handle");
            if let Some(Value::Object(counter)) = map.get_mut("counter") {
                counter.remove("packets");
                counter.remove("bytes");
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_and_counts_are_no_difference() {
        let listing = |handle: u32, packets: u32| {
            serde_json::json!({"nftables": [
                {"metainfo": {"version": "1"}},
                {"rule": {"family": "ip", "table": "t", "handle": handle, "expr": [
                    {"counter": {"packets": packets, "bytes": 9}}, {"accept": null}]}},
            ]})
        };
        assert_eq!(objects(listing(1, 2)), objects(listing(3, 4)));
        assert_eq!(objects(listing(1, 2)).len(), 1);
    }
}
