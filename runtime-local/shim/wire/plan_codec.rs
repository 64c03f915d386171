//! How a plan is laid out in bytes; field order is the order of the declarations.

use super::super::codec::{CodecError, Reader, Writer};
use super::{
    Capabilities, Cgroup, CgroupVersion, Health, HealthTest, IdMap, LogLimits, MAGIC, Mount,
    MountKind, Plan, Process, Rlimit, Root, VERSION, VERSION_HOST_NETWORK, read_restart,
    write_restart,
};

pub(super) fn encode(plan: &Plan) -> Vec<u8> {
    let mut w = Writer::new();
    let version = match plan.host_network {
        false => VERSION,
        true => VERSION_HOST_NETWORK,
    };
    w.u32(MAGIC).u32(version);
    w.str(&plan.replica)
        .str(&plan.replica_dir)
        .str(&plan.run_dir);
    w.option(plan.id_map.as_ref(), |w, m| {
        w.u32(m.base).u32(m.size);
    });
    w.str(&plan.hostname);
    write_root(&mut w, &plan.root);
    w.bool(plan.read_only_root);
    w.list(&plan.mounts, write_mount);
    strings(&mut w, &plan.masked_paths);
    strings(&mut w, &plan.read_only_paths);
    w.u64(plan.shm_size);
    pairs(&mut w, &plan.sysctls);
    write_process(&mut w, &plan.process);
    w.list(&plan.cgroups, write_cgroup);
    w.u32(plan.stop_signal).u64(plan.stop_grace_ms);
    write_restart(&mut w, plan.restart);
    w.option(plan.health.as_ref(), write_health);
    w.u64(plan.log.max_bytes).u32(plan.log.files);
    w.option(plan.net.as_ref(), |w, net| {
        w.bytes(net);
    });
    w.bool(plan.init);
    if version == VERSION_HOST_NETWORK {
        w.bool(plan.host_network);
    }
    w.finish()
}

pub(super) fn decode(bytes: &[u8]) -> Result<Plan, CodecError> {
    let r = &mut Reader::new(bytes);
    let magic = r.u32()?;
    if magic != MAGIC {
        return Err(CodecError::Unknown(magic));
    }
    let version = r.u32()?;
    if !(VERSION..=VERSION_HOST_NETWORK).contains(&version) {
        return Err(CodecError::Unknown(version));
    }
    Ok(Plan {
        replica: r.string()?,
        replica_dir: r.string()?,
        run_dir: r.string()?,
        id_map: r.option(|r| {
            Ok(IdMap {
                base: r.u32()?,
                size: r.u32()?,
            })
        })?,
        hostname: r.string()?,
        root: read_root(r)?,
        read_only_root: r.bool()?,
        mounts: r.list(read_mount)?,
        masked_paths: r.list(Reader::string)?,
        read_only_paths: r.list(Reader::string)?,
        shm_size: r.u64()?,
        sysctls: r.list(read_pair)?,
        process: read_process(r)?,
        cgroups: r.list(read_cgroup)?,
        stop_signal: r.u32()?,
        stop_grace_ms: r.u64()?,
        restart: read_restart(r)?,
        health: r.option(read_health)?,
        log: LogLimits {
            max_bytes: r.u64()?,
            files: r.u32()?,
        },
        net: r.option(|r| r.bytes().map(<[u8]>::to_vec))?,
        init: r.bool()?,
        host_network: version == VERSION_HOST_NETWORK && r.bool()?,
    })
}

fn strings(w: &mut Writer, items: &[String]) {
    w.list(items, |w, item| {
        w.str(item);
    });
}

fn pairs(w: &mut Writer, items: &[(String, String)]) {
    w.list(items, |w, (name, value)| {
        w.str(name).str(value);
    });
}

fn read_pair(r: &mut Reader<'_>) -> Result<(String, String), CodecError> {
    Ok((r.string()?, r.string()?))
}

fn write_root(w: &mut Writer, root: &Root) {
    match root {
        Root::Layers { store, layers } => {
            w.u32(0).str(store);
            strings(w, layers);
        }
        Root::Directory { path } => {
            w.u32(1).str(path);
        }
    }
}

fn read_root(r: &mut Reader<'_>) -> Result<Root, CodecError> {
    Ok(match r.u32()? {
        0 => Root::Layers {
            store: r.string()?,
            layers: r.list(Reader::string)?,
        },
        1 => Root::Directory { path: r.string()? },
        other => return Err(CodecError::Unknown(other)),
    })
}

fn write_mount(w: &mut Writer, mount: &Mount) {
    w.str(&mount.target);
    match &mount.kind {
        MountKind::Bind {
            source,
            idmapped,
            read_only,
            recursive,
            populate,
        } => {
            w.u32(0).str(source).bool(*idmapped).bool(*read_only);
            w.bool(*recursive).bool(*populate);
        }
        MountKind::Tmpfs {
            size,
            mode,
            uid,
            gid,
            read_only,
            no_exec,
        } => {
            w.u32(1).u64(*size).u32(*mode).u32(*uid).u32(*gid);
            w.bool(*read_only).bool(*no_exec);
        }
        MountKind::File {
            content,
            mode,
            uid,
            gid,
            read_only,
        } => {
            w.u32(2)
                .bytes(content)
                .u32(*mode)
                .u32(*uid)
                .u32(*gid)
                .bool(*read_only);
        }
        MountKind::Device {
            block,
            major,
            minor,
            mode,
            uid,
            gid,
        } => {
            w.u32(3).bool(*block).u32(*major).u32(*minor);
            w.u32(*mode).u32(*uid).u32(*gid);
        }
    }
}

fn read_mount(r: &mut Reader<'_>) -> Result<Mount, CodecError> {
    let target = r.string()?;
    let kind = match r.u32()? {
        0 => MountKind::Bind {
            source: r.string()?,
            idmapped: r.bool()?,
            read_only: r.bool()?,
            recursive: r.bool()?,
            populate: r.bool()?,
        },
        1 => MountKind::Tmpfs {
            size: r.u64()?,
            mode: r.u32()?,
            uid: r.u32()?,
            gid: r.u32()?,
            read_only: r.bool()?,
            no_exec: r.bool()?,
        },
        2 => MountKind::File {
            content: r.bytes()?.to_vec(),
            mode: r.u32()?,
            uid: r.u32()?,
            gid: r.u32()?,
            read_only: r.bool()?,
        },
        3 => MountKind::Device {
            block: r.bool()?,
            major: r.u32()?,
            minor: r.u32()?,
            mode: r.u32()?,
            uid: r.u32()?,
            gid: r.u32()?,
        },
        other => return Err(CodecError::Unknown(other)),
    };
    Ok(Mount { target, kind })
}

fn write_process(w: &mut Writer, p: &Process) {
    strings(w, &p.argv);
    strings(w, &p.env);
    w.str(&p.cwd).u32(p.uid).u32(p.gid);
    w.list(&p.groups, |w, gid| {
        w.u32(*gid);
    });
    w.u64(p.caps.bounding)
        .u64(p.caps.effective)
        .u64(p.caps.permitted);
    w.u64(p.caps.inheritable).u64(p.caps.ambient);
    w.bool(p.no_new_privs).bytes(&p.seccomp);
    w.list(&p.rlimits, |w, l| {
        w.u32(l.resource).u64(l.soft).u64(l.hard);
    });
    w.option(p.oom_score_adj.as_ref(), |w, adj| {
        w.u32(adj.cast_unsigned());
    });
    w.bool(p.tty).bool(p.open_stdin);
}

fn read_process(r: &mut Reader<'_>) -> Result<Process, CodecError> {
    Ok(Process {
        argv: r.list(Reader::string)?,
        env: r.list(Reader::string)?,
        cwd: r.string()?,
        uid: r.u32()?,
        gid: r.u32()?,
        groups: r.list(Reader::u32)?,
        caps: Capabilities {
            bounding: r.u64()?,
            effective: r.u64()?,
            permitted: r.u64()?,
            inheritable: r.u64()?,
            ambient: r.u64()?,
        },
        no_new_privs: r.bool()?,
        seccomp: r.bytes()?.to_vec(),
        rlimits: r.list(|r| {
            Ok(Rlimit {
                resource: r.u32()?,
                soft: r.u64()?,
                hard: r.u64()?,
            })
        })?,
        oom_score_adj: r.option(|r| r.u32().map(u32::cast_signed))?,
        tty: r.bool()?,
        open_stdin: r.bool()?,
    })
}

fn write_cgroup(w: &mut Writer, group: &Cgroup) {
    let version = match group.version {
        CgroupVersion::V1 => 1,
        CgroupVersion::V2 => 2,
    };
    w.u32(version).str(&group.base).str(&group.path);
    strings(w, &group.controllers);
    pairs(w, &group.writes);
}

fn read_cgroup(r: &mut Reader<'_>) -> Result<Cgroup, CodecError> {
    let version = match r.u32()? {
        1 => CgroupVersion::V1,
        2 => CgroupVersion::V2,
        other => return Err(CodecError::Unknown(other)),
    };
    Ok(Cgroup {
        version,
        base: r.string()?,
        path: r.string()?,
        controllers: r.list(Reader::string)?,
        writes: r.list(read_pair)?,
    })
}

fn write_health(w: &mut Writer, health: &Health) {
    match &health.test {
        HealthTest::Exec { argv } => {
            w.u32(0);
            strings(w, argv);
        }
        HealthTest::Tcp { port } => {
            w.u32(1).u32(u32::from(*port));
        }
        HealthTest::Http { port, path } => {
            w.u32(2).u32(u32::from(*port)).str(path);
        }
    }
    w.u64(health.interval_ms)
        .u64(health.timeout_ms)
        .u64(health.start_period_ms);
    w.u64(health.start_interval_ms).u32(health.retries);
}

fn read_health(r: &mut Reader<'_>) -> Result<Health, CodecError> {
    let test = match r.u32()? {
        0 => HealthTest::Exec {
            argv: r.list(Reader::string)?,
        },
        1 => HealthTest::Tcp {
            port: read_port(r)?,
        },
        2 => HealthTest::Http {
            port: read_port(r)?,
            path: r.string()?,
        },
        other => return Err(CodecError::Unknown(other)),
    };
    Ok(Health {
        test,
        interval_ms: r.u64()?,
        timeout_ms: r.u64()?,
        start_period_ms: r.u64()?,
        start_interval_ms: r.u64()?,
        retries: r.u32()?,
    })
}

fn read_port(r: &mut Reader<'_>) -> Result<u16, CodecError> {
    let port = r.u32()?;
    u16::try_from(port).map_err(|_| CodecError::Unknown(port))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
