//! Other firewalls on this host that drop what is routed: our rules cannot let pass what theirs drop.

use std::fmt;
use std::io;

use super::NetError;
use super::bridge::PREFIX;
use super::netlink::Netlink;
use crate::wire::netlink::{Batch, DUMP, Message};
use crate::wire::nft_client::TABLE;

const GET_CHAIN: u16 = 10 << 8 | 4;
const GET_RULE: u16 = 10 << 8 | 7;
const FORWARD: u32 = 2;
const DROP: u32 = 0;
/// The families whose chains see IPv4 packets, as `nft` names them.
const FAMILIES: [(u8, &str); 2] = [(1, "inet"), (2, "ip")];
/// The chain that docker leaves to the host's owner and goes through first.
const DOCKER_USER: &str = "DOCKER-USER";

/// A chain that drops routed packets unless one of its rules accepts them, with no rule about us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocker {
    family: u8,
    table: String,
    chain: String,
    /// Where its owner puts rules of his own.
    place: String,
}

impl Blocker {
    fn family(&self) -> &'static str {
        let known = FAMILIES.iter().find(|(number, _)| *number == self.family);
        known.map_or("?", |(_, name)| name)
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, table, place) = (self.family(), &self.table, &self.place);
        write!(
            f,
            "another firewall drops what is routed (chain {} of table {family} {table}), so replicas \
             reach nobody beyond this host, nor others them; let them pass: ",
            self.chain
        )?;
        let rule = format!("nft insert rule {family} {table} {place}");
        write!(
            f,
            "{rule} iifname '\"{PREFIX}*\"' accept; {rule} oifname '\"{PREFIX}*\"' accept"
        )
    }
}

/// The chains of others that drop what replicas send and get by way of this host.
///
/// Tables of the old `iptables-legacy` are not among them: the kernel tells nobody their policy.
pub(crate) fn forward_blockers() -> Result<Vec<Blocker>, NetError> {
    let failed = || NetError::kernel("list the firewall chains of this host");
    let netlink = Netlink::netfilter().map_err(failed())?;
    let mut found = Vec::new();
    for (family, _) in FAMILIES {
        let chains = netlink.collect(&ask(GET_CHAIN, family, None), |message| {
            chain(message, family).into_iter().collect()
        });
        for seen in none_is_fine(chains).map_err(failed())? {
            if seen.drops && !(family == 2 && seen.table == TABLE) {
                let (table, chain) = (seen.table, seen.name);
                let place = chain.clone();
                found.push(Blocker {
                    family,
                    table,
                    chain,
                    place,
                });
            }
        }
    }
    let mut blocking = Vec::new();
    for mut blocker in found {
        let rules = netlink.collect(
            &ask(GET_RULE, blocker.family, Some(&blocker.table)),
            |rule| vec![(names_us(rule), rule.attrs(4).str(2) == Some(DOCKER_USER))],
        );
        let rules = none_is_fine(rules).map_err(failed())?;
        if rules.iter().any(|(_, docker)| *docker) {
            blocker.place = DOCKER_USER.to_owned();
        }
        // Whoever wrote a rule about our bridges has decided.
        if !rules.iter().any(|(ours, _)| *ours) {
            blocking.push(blocker);
        }
    }
    Ok(blocking)
}

struct Chain {
    table: String,
    name: String,
    drops: bool,
}

fn ask(kind: u16, family: u8, table: Option<&str>) -> Vec<u8> {
    let mut batch = Batch::new();
    batch.message(kind, DUMP, &[family, 0, 0, 0]);
    if let Some(table) = table {
        batch.attr_str(1, table);
    }
    batch.finish()
}

fn chain(message: &Message<'_>, family: u8) -> Option<Chain> {
    if message.payload.first() != Some(&family) {
        return None;
    }
    let attrs = message.attrs(4);
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).ok();
    let hook = attrs.nested(4).and_then(|hook| number(hook.find(1)?));
    let policy = message.attrs(4).find(5).and_then(number);
    Some(Chain {
        table: message.attrs(4).str(1)?.to_owned(),
        name: message.attrs(4).str(3)?.to_owned(),
        drops: hook == Some(FORWARD) && policy == Some(DROP),
    })
}

/// True for a rule that has the beginning of our bridges' names anywhere in it.
fn names_us(rule: &Message<'_>) -> bool {
    let ours = PREFIX.as_bytes();
    rule.payload.windows(ours.len()).any(|part| part == ours)
}

fn none_is_fine<T>(result: io::Result<Vec<T>>) -> io::Result<Vec<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::tests::shim_net::tests::world::{Space, may_make_namespaces};
    use super::*;

    fn nft(rules: &str) {
        let status = Command::new("nft").args(rules.split(' ')).status();
        assert!(status.expect("run").success(), "nft {rules}");
    }

    #[test]
    fn chains_that_drop_are_named_until_they_let_us_pass() {
        if !may_make_namespaces() {
            return;
        }
        if Command::new("nft").arg("--version").output().is_err() {
            return unmoor_tools::skipped("nft is not installed");
        }
        Space::new().run(|| {
            let list = || forward_blockers().expect("listed");
            assert_eq!(list(), [], "nothing is there");
            nft("add table inet lan");
            nft("add chain inet lan in { type filter hook input priority 0 ; policy drop ; }");
            nft("add chain inet lan open { type filter hook forward priority 0 ; policy accept ; }");
            assert_eq!(list(), [], "these drop nothing that is routed");
            nft("add chain inet lan shut { type filter hook forward priority 5 ; policy drop ; }");
            let said = list().iter().map(ToString::to_string).collect::<String>();
            assert!(said.contains("chain shut of table inet lan"), "{said}");
            nft("insert rule inet lan shut iifname \"um-*\" accept");
            assert_eq!(list(), [], "its owner has let us pass");

            nft("add table ip filter");
            nft("add chain ip filter DOCKER-USER");
            nft("add rule ip filter DOCKER-USER return");
            nft("add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }");
            let said = list().iter().map(ToString::to_string).collect::<String>();
            assert!(said.contains("chain FORWARD of table ip filter"), "{said}");
            assert!(
                said.contains("nft insert rule ip filter DOCKER-USER iifname '\"um-*\"' accept"),
                "{said}"
            );
        });
    }
}
