//! Keeps the firewall table inside a replica's namespace equal to what it should be.

use super::NetError;
use super::nl::Netlink;
use crate::wire::nft_client::{Balanced, Client};

/// The table in one namespace.
#[derive(Debug)]
pub(super) struct Rules {
    netlink: Netlink,
    client: Client,
    installed: Balanced,
}

impl Rules {
    /// Takes charge of the namespace in which `netlink` was opened; installs nothing yet.
    pub(super) fn new(netlink: Netlink, client: Client) -> Self {
        Self {
            netlink,
            client,
            installed: Balanced::new(),
        }
    }

    /// Puts the whole table in place.
    pub(super) fn install(&mut self, balanced: Balanced) -> Result<(), NetError> {
        let change = self.client.install(&balanced);
        let what = "install the stable addresses in the replica's network namespace";
        self.netlink
            .change(&change)
            .map_err(NetError::refused(what))?;
        self.installed = balanced;
        Ok(())
    }

    /// Changes what differs, in one step; starts over if the table is not as we left it.
    pub(super) fn update(&mut self, balanced: Balanced) -> Result<(), NetError> {
        let Some(change) = self.client.update(&self.installed, &balanced) else {
            return Ok(());
        };
        match self.netlink.change(&change) {
            Ok(()) => {
                self.installed = balanced;
                Ok(())
            }
            Err(_) => self.install(balanced),
        }
    }
}
