//! Commands of the probe that reach others: resolve, connect, check.

use std::net::Ipv4Addr;

use unmoor_core::spec::Protocol;

use super::Reply;
use crate::model::{Model, Refused};

impl Model {
    pub(super) fn resolve_command(&mut self, pid: u64, rest: &[String]) -> Reply {
        let Some(name) = rest.first() else {
            return Reply::fail(64, "wrong arguments\n");
        };
        let found = self.resolve(&self.processes[&pid].replica, name);
        if found.is_empty() {
            return Reply::fail(2, format!("{name} does not resolve\n"));
        }
        Reply::out(
            found
                .iter()
                .map(|address| format!("{address}\n"))
                .collect::<String>(),
        )
    }

    pub(super) fn connect_command(&mut self, pid: u64, name: &str, rest: &[String]) -> Reply {
        let rest = match rest {
            [flag, _, rest @ ..] if flag == "--timeout" => rest,
            _ => rest,
        };
        let [host, port, text @ ..] = rest else {
            return Reply::fail(64, "wrong arguments\n");
        };
        let Ok(number) = port.parse() else {
            return Reply::fail(64, "wrong arguments\n");
        };
        let protocol = if name == "udp" {
            Protocol::Udp
        } else {
            Protocol::Tcp
        };
        let Some(address) = self
            .resolve(&self.processes[&pid].replica, host)
            .first()
            .copied()
        else {
            return Reply::fail(2, format!("{host} does not resolve\n"));
        };
        match self.dial(pid, address, protocol, number, &text.join(" ")) {
            Ok(answer) => Reply::out(answer),
            Err(why) => Reply::fail(3, format!("{name} {host}:{port}: {}\n", why.as_str())),
        }
    }

    pub(super) fn check_command(&mut self, pid: u64, rest: &[String]) -> Reply {
        let Some(port) = rest.first().and_then(|word| word.parse().ok()) else {
            return Reply::fail(64, "wrong arguments\n");
        };
        match self.dial(pid, Ipv4Addr::LOCALHOST, Protocol::Tcp, port, "ready") {
            Ok(answer) => {
                let code = i32::from(answer != "ready\n");
                Reply {
                    code,
                    out: answer,
                    ..Reply::default()
                }
            }
            Err(why) => Reply::fail(1, format!("check {port}: {}\n", why.as_str())),
        }
    }

    /// Connects from a process, sends a line, reads the answer to its end.
    pub(super) fn dial(
        &mut self,
        pid: u64,
        address: Ipv4Addr,
        protocol: Protocol,
        port: u16,
        text: &str,
    ) -> Result<String, Refused> {
        let from = self.processes[&pid].replica.clone();
        let server = self.route(&from, address, protocol, port)?;
        Ok(self.answer(server, text))
    }
}
