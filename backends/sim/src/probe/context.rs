//! What a program finds when it starts: who it is, its variables, its folder, its file.

use std::collections::BTreeMap;

use unmoor_core::name::ReplicaId;
use unmoor_core::spec::{Link, LinuxCaps};

use super::{MARKER, Start};
use crate::bug::Bug;
use crate::model::{Identity, Kind, Model, Node, Replica, normal};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Exit code and reason of a program that cannot be started.
type Problem = (i32, String);

impl Identity {
    pub(super) fn root() -> Self {
        Self {
            uid: 0,
            gid: 0,
            groups: vec![0],
            caps: LinuxCaps::default(),
        }
    }
}

impl Model {
    pub(super) fn context(
        &mut self,
        start: &Start,
    ) -> Result<(Identity, BTreeMap<String, String>, String), Problem> {
        let gone = || (126, "the replica is gone".to_owned());
        let replica = self.replica(&start.replica).ok_or_else(gone)?;
        let who = self
            .identity(replica, start.user.as_deref())
            .map_err(|problem| (126, problem))?;
        let mut env = self.variables(replica, start.tty);
        env.extend(start.env.clone());
        let defaults = &replica.service.image.defaults;
        let own = replica
            .service
            .spec
            .working_dir
            .as_ref()
            .or(defaults.working_dir.as_ref());
        let cwd = start.cwd.as_ref().or(own).map_or("/", String::as_str);
        let cwd = normal("/", cwd);
        let Some(program) = start.argv.first() else {
            return Err((127, "no program is given".to_owned()));
        };
        let node = self.find_program(replica, program, &env, &cwd)?;
        let Kind::File(content) = &node.kind else {
            return Err((126, format!("`{program}` is a directory")));
        };
        if node.mode & 0o111 == 0 {
            return Err((126, format!("`{program}` is not executable")));
        }
        if !self.is_probe(content) {
            let text = format!("`{program}` is a program that the model cannot run");
            return Err((126, text));
        }
        Ok((who, env, cwd))
    }

    fn find_program(
        &self,
        replica: &Replica,
        program: &str,
        env: &BTreeMap<String, String>,
        cwd: &str,
    ) -> Result<Node, Problem> {
        let missing = || (127, format!("`{program}` is not there"));
        if program.contains('/') {
            return self
                .node(replica, &normal(cwd, program))
                .ok_or_else(missing);
        }
        let path = env.get("PATH").map_or(PATH, String::as_str);
        let found = path
            .split(':')
            .find_map(|folder| self.node(replica, &normal(folder, program)));
        found.ok_or_else(missing)
    }

    fn variables(&self, replica: &Replica, tty: bool) -> BTreeMap<String, String> {
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), PATH.to_owned()),
            ("HOSTNAME".to_owned(), replica.hostname.clone()),
            ("HOME".to_owned(), "/".to_owned()),
        ]);
        if tty {
            env.insert("TERM".to_owned(), "xterm".to_owned());
        }
        for pair in &replica.service.image.defaults.env {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            env.insert(key.to_owned(), value.to_owned());
        }
        env.extend(self.discovery_variables(replica));
        if !self.bugs.has(Bug::NoLinkVariables) {
            env.extend(self.link_variables(&replica.id));
        }
        // What the user set is never overridden.
        env.extend(replica.service.spec.environment.clone());
        env
    }

    fn link_variables(&self, id: &ReplicaId) -> Vec<(String, String)> {
        let declared = self
            .holding(&id.stack)
            .and_then(|h| h.services.get(&id.service));
        let links = declared
            .map(|declared| declared.service.links.as_slice())
            .unwrap_or_default();
        links
            .iter()
            .flat_map(|link| self.variables_of_link(id, link))
            .collect()
    }

    fn variables_of_link(&self, id: &ReplicaId, link: &Link) -> Vec<(String, String)> {
        let stem = format!("UNMOOR_LINK_{}", link.alias.env_part());
        let host = link.alias.as_str();
        let mut variables = vec![(format!("{stem}_HOST"), host.to_owned())];
        let stack = link.target.stack.as_ref().unwrap_or(&id.stack);
        let target = self
            .holding(stack)
            .and_then(|h| h.services.get(&link.target.service));
        let known = target
            .map(|target| target.service.known_ports())
            .unwrap_or_default();
        let first = known.first().copied();
        if let Some(port) = link.port.or(first.map(|exposed| exposed.port)) {
            let protocol = known
                .iter()
                .find(|exposed| exposed.port == port)
                .or(first.as_ref());
            let protocol = protocol.map(|exposed| exposed.protocol).unwrap_or_default();
            variables.push((format!("{stem}_PORT"), port.to_string()));
            variables.push((format!("{stem}_URL"), format!("{protocol}://{host}:{port}")));
        }
        variables
    }

    /// True if the file is the probe; a content is looked through once.
    fn is_probe(&mut self, content: &std::sync::Arc<Vec<u8>>) -> bool {
        let seen =
            |known: &&(std::sync::Arc<Vec<u8>>, bool)| std::sync::Arc::ptr_eq(&known.0, content);
        if let Some((_, answer)) = self.programs.iter().find(seen) {
            return *answer;
        }
        let answer = content.windows(MARKER.len()).any(|window| window == MARKER);
        self.programs.push((std::sync::Arc::clone(content), answer));
        answer
    }
}
