//! Sockets whose service does what root does, for whoever may connect: container engines first of all; and which groups a
//! socket or a device makes valuable.
//!
//! What connects here is nobody: owners, modes and access control lists (acl(5)) are read. A remedy never changes the mode
//! of a socket: others use it too.
//!
//! Source: unix(7) "Pathname socket ownership and permissions".

use std::collections::BTreeSet;
use std::path::Path;

use codex_config::regular::read_regular;

use super::devices;
use super::reach::{Owned, Through, is_reachable, leave_remedy};
use crate::finding::{Closing, Finding};
use crate::subject::{Subject, left_by};

mod found;

use found::sockets;

const CHECK: &str = "socket";

const CONTAINERS: &str =
    "whoever may use it can start a container that has the machine's files as root";
const MACHINES: &str = "whoever may use it can give a virtual machine the machine's disks";
const BUILDS: &str = "whoever may use it can have root build and run what they say";

/// How the paths of known sockets end, and what their services do.
const KNOWN: [(&str, &str); 14] = [
    ("docker.sock", CONTAINERS),
    ("balena-engine.sock", CONTAINERS),
    ("cri-dockerd.sock", CONTAINERS),
    ("dockershim.sock", CONTAINERS),
    ("containerd.sock", CONTAINERS),
    ("podman.sock", CONTAINERS),
    ("crio.sock", CONTAINERS),
    ("lxd/unix.socket", CONTAINERS),
    ("incus/unix.socket", CONTAINERS),
    ("libvirt/libvirt-sock", MACHINES),
    ("libvirt/virtqemud-sock", MACHINES),
    ("libvirt/virtlxcd-sock", CONTAINERS),
    ("libvirt/virtstoraged-sock", MACHINES),
    ("buildkitd.sock", BUILDS),
];

/// Docker's port without TLS.
const DOCKER_PORT: u16 = 2375;
const LIMIT_BYTES: u64 = 1024 * 1024;
const MEMBERS_MAY_WRITE: u32 = 0o020;

pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    let (sockets, is_all) = sockets();
    let reachable = sockets.iter().filter(|socket| is_reachable(subject, &socket.path));
    let open = reachable.filter_map(|socket| Some((socket, socket.through_now(subject, 0o2)?)));
    let mut findings: Vec<Finding> =
        open.filter_map(|(socket, through)| judge(subject, socket, through)).collect();
    if !is_all {
        let what = "sockets below /run";
        let finding = Finding::undecided(CHECK, what, "there are too many files to look at all");
        findings.push(finding.remedy("find /run -type s -user root -perm /022"));
    }
    findings.extend(docker_port());
    findings
}

/// Groups, others than root's own, that own a socket of root's or a disk that they may use: what a planted setgid file
/// could be aimed at.
pub(crate) fn owning_gids() -> BTreeSet<u32> {
    let sockets = sockets().0.into_iter();
    let open = sockets.filter(|socket| socket.uid == 0 && socket.mode & MEMBERS_MAY_WRITE != 0);
    let mut gids: BTreeSet<u32> = open.map(|socket| socket.gid).collect();
    gids.extend(devices::owning_gids());
    gids.remove(&0);
    gids
}

fn known(path: &Path) -> Option<&'static str> {
    let is_it = |(end, _): &&(&str, &str)| path.ends_with(end);
    KNOWN.iter().find(is_it).map(|(_, why)| *why)
}

fn judge(subject: &Subject, socket: &Owned, through: Through) -> Option<Finding> {
    let what = format!("the socket {}", socket.path.display());
    let finding = match (known(&socket.path), through) {
        // There polkit decides, and not the mode.
        (Some(_), Through::Everyone) if socket.path.iter().any(|part| part == "libvirt") => {
            Finding::undecided(
                CHECK,
                what,
                "whether its service lets this account manage virtual machines is for polkit to say",
            )
        }
        (Some(why), _) => Finding::open(CHECK, what, why),
        (None, Through::Group(_) | Through::List) if socket.uid == 0 => Finding::undecided(
            CHECK,
            what,
            "a program of root's listens there; what it does for this account can't be told",
        ),
        // Open to all: made so, and its service looks at who connects.
        (None, _) => return None,
    };
    let finding = finding.seen(format!("{}: {}", socket.words(), through.words(subject)));
    let finding = finding.remedy(remedy(subject, through));
    Some(match through {
        Through::Group(gid) if left_by(subject, gid).is_some() => {
            finding.closed_by(Closing::Groups)
        }
        _ => finding,
    })
}

/// The mode of a socket that others use too is left as it is.
fn remedy(subject: &Subject, through: Through) -> String {
    match through {
        Through::Group(gid) => leave_remedy(subject, gid),
        Through::Everyone => {
            "stop its service, or let that make its socket for fewer (SocketMode= of its unit)".to_owned()
        }
        Through::Owner | Through::List => {
            "restart its service, which makes its socket anew, and look for what opens it to this account".to_owned()
        }
    }
}

/// A Docker that anybody here may ask over TCP.
fn docker_port() -> Option<Finding> {
    let read =
        |path: &str| read_regular(Path::new(path), LIMIT_BYTES).ok().flatten().unwrap_or_default();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(read);
    let mut lines = tables.iter().flat_map(|table| table.split(|byte| *byte == b'\n'));
    let line = lines.find(|line| is_docker(&String::from_utf8_lossy(line)))?;
    let what = format!("a service of root's on TCP port {DOCKER_PORT}");
    let seen = format!("listening, in /proc/net: {}", String::from_utf8_lossy(line).trim());
    let remedy = format!(
        "stop Docker from listening there: take tcp://…:{DOCKER_PORT} out of its -H options and of hosts in /etc/docker/daemon.json, then restart it"
    );
    Some(Finding::open(CHECK, what, CONTAINERS).seen(seen).remedy(remedy))
}

/// A line of /proc/net/tcp: a listener of uid 0 on Docker's port.
fn is_docker(line: &str) -> bool {
    const LISTENING: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, _, _, _, uid, ..] = fields.as_slice() else { return false };
    let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    *state == LISTENING && port == Some(DOCKER_PORT) && *uid == "0"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;
    use crate::subject::testing::subject;

    fn socket(path: &str, uid: u32, gid: u32, mode: u32) -> Owned {
        Owned { path: path.into(), uid, gid, mode }
    }

    #[test]
    fn who_may_connect_decides_and_what_listens_there() {
        let mut us = subject(61_500, &[61_500, 61_501]);
        us.stale.insert(61_502);
        let (open, undecided) = (Some(Grade::Open), Some(Grade::Undecided));
        for (path, uid, gid, mode, expected) in [
            ("/run/docker.sock", 0, 61_501, 0o660, open),
            ("/run/docker.sock", 0, 61_502, 0o660, open),
            ("/run/docker.sock", 0, 61_503, 0o660, None),
            ("/run/docker.sock", 0, 0, 0o666, open),
            ("/run/docker.sock", 61_500, 0, 0o600, open),
            ("/run/docker.sock", 0, 61_501, 0o606, None),
            ("/run/podman/podman.sock", 0, 61_501, 0o660, open),
            ("/run/libvirt/libvirt-sock", 0, 61_501, 0o660, open),
            ("/run/libvirt/libvirt-sock", 0, 0, 0o666, undecided),
            ("/run/libvirt/libvirt-sock-ro", 0, 0, 0o666, None),
            ("/run/other/x.sock", 0, 61_501, 0o660, undecided),
            ("/run/other/x.sock", 0, 0, 0o666, None),
            ("/run/other/x.sock", 61_509, 61_501, 0o660, None),
            ("/run/other/not-docker.sock", 0, 0, 0o666, None),
        ] {
            let socket = socket(path, uid, gid, mode);
            let found = socket.through(&us, 0o2).and_then(|through| judge(&us, &socket, through));
            assert_eq!(found.map(|found| found.grade), expected, "{path} {uid} {gid} {mode:o}");
        }
    }

    #[test]
    fn a_socket_of_a_group_that_is_left_is_closed_by_that() {
        let mut us = subject(61_500, &[61_500, 61_501, 61_502]);
        us.account.groups[1].name = Some("docker".to_owned());
        for (gid, expected) in [(61_500, None), (61_501, Some(Closing::Groups)), (61_502, None)] {
            let socket = socket("/run/docker.sock", 0, gid, 0o660);
            let through = socket.through(&us, 0o2).unwrap();
            assert_eq!(judge(&us, &socket, through).unwrap().closed_by, expected, "{gid}");
        }
    }

    #[test]
    fn no_remedy_changes_the_mode_of_a_socket() {
        let us = subject(61_500, &[61_500]);
        let all = [Through::Owner, Through::Group(61_500), Through::Everyone, Through::List];
        for through in all {
            let remedy = remedy(&us, through);
            assert!(
                !["chmod", "chown", "setfacl"].iter().any(|verb| remedy.contains(verb)),
                "{remedy}"
            );
        }
    }

    #[test]
    fn dockers_port_is_known_by_its_listener() {
        for (line, expected) in [
            (
                "   0: 00000000:0947 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0",
                true,
            ),
            (
                "   0: 00000000000000000000000000000000:0947 0:0000 0A 0:0 00:0 0     0        0 1 1 0",
                true,
            ),
            (
                "   0: 0100007F:0947 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0",
                false,
            ),
            (
                "   0: 0100007F:0947 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0",
                false,
            ),
            (
                "   0: 0100007F:0948 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0",
                false,
            ),
            (
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(is_docker(line), expected, "{line}");
        }
    }
}
