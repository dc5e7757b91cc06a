//! Groups that lead to root as systems are usually set up, by name. What a socket's mode or sudoers really say is for the
//! audit to find.

/// A group, and how it leads to root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leading {
    /// Its name.
    pub group: &'static str,
    /// One clause.
    pub why: &'static str,
}

const SUDO: &str = "sudo lets its members become root, as systems are usually set up";
const CONTAINERS: &str =
    "whoever may use its socket can start a container that has the machine's files as root";

const fn that(group: &'static str, why: &'static str) -> Leading {
    Leading { group, why }
}

/// All of them.
pub const LEADING: [Leading; 14] = [
    that("root", "what root leaves open to its own group can be changed"),
    that("sudo", SUDO),
    that("wheel", SUDO),
    that("admin", SUDO),
    that("google-sudoers", SUDO),
    that("docker", CONTAINERS),
    that("podman", CONTAINERS),
    that("lxd", CONTAINERS),
    that("incus-admin", CONTAINERS),
    that("libvirt", "a virtual machine can be given the machine's disks"),
    that("disk", "the disks can be written past all modes"),
    that("kmem", "the kernel's memory can be read"),
    that("shadow", "the hashes of all passwords can be read, and tried"),
    that("staff", "it may write to /usr/local, where root looks for programs first"),
];

/// The one of this name.
pub fn leading(group: &str) -> Option<&'static Leading> {
    LEADING.iter().find(|leading| leading.group == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_own_name_and_nothing_else_is() {
        for expected in &LEADING {
            assert_eq!(leading(expected.group), Some(expected));
        }
        for other in ["", "Sudo", "sudoers", "adm", "kvm", "users"] {
            assert_eq!(leading(other), None, "{other:?}");
        }
    }
}
