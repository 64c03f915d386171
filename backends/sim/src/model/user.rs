//! Who a process runs as: `user[:group]` by number, or by name in the image's own files.

use unmoor_core::spec::LinuxCaps;

use super::{Model, Replica, Tree};
use crate::bug::Bug;

/// Who asks, and with which rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) caps: LinuxCaps,
}

fn lines(tree: &Tree, path: &str) -> Vec<Vec<String>> {
    let content = tree.get(path).and_then(|node| node.content());
    String::from_utf8_lossy(content.unwrap_or_default())
        .lines()
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect()
}

fn number(fields: &[String], at: usize) -> Option<u32> {
    fields.get(at)?.parse().ok()
}

fn field_is(fields: &[String], at: usize, text: &str) -> bool {
    fields.get(at).is_some_and(|field| field == text)
}

/// Looks a user up; the error is the platform's words.
fn look_up(tree: &Tree, user: &str) -> Result<(u32, u32, Vec<u32>), String> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let users = lines(tree, "/etc/passwd");
    let entry = users.iter().find(|fields| {
        field_is(fields, 0, user) || (field_is(fields, 2, user) && user.parse::<u32>().is_ok())
    });
    let uid = match (entry, user) {
        (Some(fields), _) => number(fields, 2),
        (None, "") => Some(0),
        (None, _) => user.parse().ok(),
    };
    let Some(uid) = uid else {
        return Err(format!("there is no user `{}`", user.escape_default()));
    };
    let known = lines(tree, "/etc/group");
    let gid = match group {
        None => entry.and_then(|fields| number(fields, 3)).unwrap_or(0),
        Some(group) => {
            let entry = known.iter().find(|fields| field_is(fields, 0, group));
            let found = entry
                .and_then(|fields| number(fields, 2))
                .or_else(|| group.parse().ok());
            found.ok_or_else(|| format!("there is no group `{}`", group.escape_default()))?
        }
    };
    let mut groups = vec![gid];
    if group.is_none()
        && let Some(name) = entry.and_then(|fields| fields.first())
    {
        for fields in &known {
            let members = fields.get(3).map(String::as_str).unwrap_or_default();
            if members.split(',').any(|member| member == name) {
                groups.extend(number(fields, 2).filter(|gid| !groups.contains(gid)));
            }
        }
    }
    groups.sort_unstable();
    Ok((uid, gid, groups))
}

impl Model {
    /// Who a process of this replica is, as itself or as another user.
    pub(crate) fn identity(
        &self,
        replica: &Replica,
        other: Option<&str>,
    ) -> Result<Identity, String> {
        let spec = &replica.service.spec;
        let own = spec
            .user
            .as_deref()
            .or(replica.service.image.defaults.user.as_deref());
        let own = own.filter(|_| !self.bugs.has(Bug::UserIgnored));
        let other = other.filter(|_| !self.bugs.has(Bug::ExecUserIgnored));
        let (uid, gid, mut groups) = match other.or(own) {
            None => (0, 0, vec![0]),
            Some(user) => look_up(&replica.root, user)?,
        };
        for group in &spec.security.groups {
            let (_, gid, _) = look_up(&replica.root, &format!("0:{group}"))?;
            groups.extend(Some(gid).filter(|gid| !groups.contains(gid)));
        }
        groups.sort_unstable();
        let full = if self.bugs.has(Bug::AllCapabilities) {
            LinuxCaps::ALL
        } else {
            LinuxCaps::of(&spec.security).map_err(|error| error.to_string())?
        };
        // The kernel clears the effective set when a process becomes another user than root.
        let caps = if uid == 0 { full } else { LinuxCaps::default() };
        Ok(Identity {
            uid,
            gid,
            groups,
            caps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Node;

    #[test]
    fn users_are_found_by_name_and_number() {
        let mut tree = Tree::new();
        let passwd = b"root:x:0:0::/:\napp:x:1000:1001::/:\n".to_vec();
        tree.put("/etc/passwd", Node::file(passwd, 0o644, 0, 0));
        let group = b"app:x:1001:\nextra:x:7:app\n".to_vec();
        tree.put("/etc/group", Node::file(group, 0o644, 0, 0));
        assert_eq!(look_up(&tree, "app"), Ok((1000, 1001, vec![7, 1001])));
        assert_eq!(look_up(&tree, "5:6"), Ok((5, 6, vec![6])));
        assert_eq!(look_up(&tree, "1000:extra"), Ok((1000, 7, vec![7])));
        assert!(look_up(&tree, "nobody").is_err());
    }
}
