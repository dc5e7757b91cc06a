//! A machine to oneself: a mount namespace with a copy of /etc, an empty /run and a user tst_a, whose home is /mnt/home/tst_a.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use codex_mock_upstream::MockUpstream;

use super::{Ended, ended};
use crate::private_namespace;
use crate::support::*;

/// Copies of what is about to be changed. An overlay's upper layer can't lie on an overlay itself.
const SCRIPT: &str = r#"set -eu
mount -t tmpfs -o mode=755 tmpfs "$WORK"
mkdir "$WORK/etc" "$WORK/work" "$WORK/home"
mount -t overlay -o "lowerdir=/etc,upperdir=$WORK/etc,workdir=$WORK/work" overlay /etc
mount -t tmpfs -o mode=755 tmpfs /run
mount --move "$WORK" /mnt
rm -rf /etc/codex
useradd --home-dir /mnt/home/tst_a --create-home --shell /bin/sh tst_a
echo "ready $(id -u tst_a) $(id -g tst_a)"
exec cat"#;

/// Where tst_a lives.
pub(super) const TST_A: &str = "/mnt/home/tst_a";

/// Dropped, it is gone.
pub(super) struct Machine {
    holder: Child,
    _folder: tempfile::TempDir,
    /// Not beside the other one: that may lie in somebody's home.
    home: tempfile::TempDir,
    /// The uid and gid of tst_a.
    pub(super) tst_a: (u32, u32),
}

impl Machine {
    pub(super) fn can_be_made() -> bool {
        let programs = ["unshare", "nsenter", "setpriv", "useradd"];
        can_run(private_namespace::missing(&programs).as_deref())
    }

    pub(super) fn make() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let scratch = folder.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT])
            .env("WORK", &scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("ready"), "{line:?}");
        let mut number = || words.next().unwrap().parse().unwrap();
        let tst_a = (number(), number());
        Self { holder, _folder: folder, home: tempfile::tempdir().unwrap(), tst_a }
    }

    /// A home of root's.
    pub(super) fn folder(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// Where a file of this machine is seen from outside.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let inside = path.as_ref().strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }

    /// The same command on this machine.
    pub(super) fn join(&self, command: &Command) -> Command {
        let mut joined = Command::new("nsenter");
        joined.args(["--target", &self.holder.id().to_string(), "--mount"]).arg("--");
        joined.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => joined.env(name, value),
                None => joined.env_remove(name),
            };
        }
        joined
    }

    pub(super) fn run(&self, command: Command) -> Ended {
        ended(self.join(&command).output().unwrap())
    }

    pub(super) fn proxy(&self, upstream: &MockUpstream) -> Proxy {
        let mut command = self.join(&program());
        Proxy::spawn(command.args(["--upstream-url", &upstream.responses_url()]))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
