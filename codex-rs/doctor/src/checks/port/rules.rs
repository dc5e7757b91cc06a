//! What the kernel says of ports: which are root's, and which it gives to outgoing connections.

use std::fs;
use std::path::Path;

/// What the kernel gives to whom (ip(7)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// Below it, ports are root's.
    pub(super) unprivileged_from: u16,
    /// Where outgoing connections get theirs, the first and the last.
    pub(super) ephemeral: Option<(u16, u16)>,
    /// Of these, those that they don't get, the first and the last of each range.
    pub(super) reserved: Vec<(u16, u16)>,
}

impl Rules {
    /// From `/proc/sys/net/ipv4`. What is not known is as it would be least safe.
    pub(super) fn read(folder: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        Self {
            unprivileged_from: read("ip_unprivileged_port_start").trim().parse().unwrap_or(0),
            ephemeral: two(&read("ip_local_port_range"), char::is_whitespace),
            reserved: read("ip_local_reserved_ports").split(',').filter_map(range).collect(),
        }
    }

    /// Whether an outgoing connection may get it.
    pub(super) fn is_ephemeral(&self, port: u16) -> bool {
        let has = |(first, last): &(u16, u16)| (*first..=*last).contains(&port);
        self.ephemeral.as_ref().is_some_and(has) && !self.reserved.iter().any(has)
    }
}

/// `8080` or `9148-9150`.
fn range(text: &str) -> Option<(u16, u16)> {
    let one = || text.trim().parse().ok().map(|port| (port, port));
    two(text, |letter| letter == '-').or_else(one)
}

fn two(text: &str, between: impl Fn(char) -> bool) -> Option<(u16, u16)> {
    let (first, last) = text.trim().split_once(between)?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_rules_are_read_as_it_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Rules::read(folder.path()), Rules::default());
        for (name, text) in [
            ("ip_unprivileged_port_start", "1024\n"),
            ("ip_local_port_range", "32768\t60999\n"),
            ("ip_local_reserved_ports", "40000-40001,50000\n"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let read = Rules::read(folder.path());
        let rules = Rules {
            unprivileged_from: 1_024,
            ephemeral: Some((32_768, 60_999)),
            reserved: vec![(40_000, 40_001), (50_000, 50_000)],
        };
        assert_eq!(read, rules);
        for (port, expected) in
            [(32_767, false), (32_768, true), (40_001, false), (50_000, false), (60_999, true)]
        {
            assert_eq!(read.is_ephemeral(port), expected, "{port}");
        }
    }
}
