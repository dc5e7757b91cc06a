#!/usr/bin/env bash
# A machine with a person who has sudo, and sudo that gives what it runs a terminal of its own. Called by a test, as
# root, in a private mount namespace of its own; see stories/daemon.rs. The argument is the script of the terminals.
#
# WORK: a folder for this run. BUILT: where the binary is. UPSTREAM_URL, KEY: what the mock upstream has and expects.
set -euo pipefail

# Copies of what is about to be changed. An overlay's upper layer can't lie on an overlay itself.
terminals=$(cat "$1")
scratch=$WORK/scratch
mkdir "$scratch"
mount -t tmpfs -o mode=755 tmpfs "$scratch"
mkdir "$scratch"/{etc,work}
mount -t overlay -o "lowerdir=/etc,upperdir=$scratch/etc,workdir=$scratch/work" overlay /etc
mount -t tmpfs -o mode=755 tmpfs /usr/local/bin
install -o root -m 755 "$BUILT/codex" /usr/local/bin/codex
# Last, and with the run's own files moved to where every account may reach them.
mount --move "$scratch" /mnt
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp

useradd --home-dir /tmp/home --create-home --shell /bin/bash tst_daemon
printf '%s\n' 'Defaults use_pty' 'tst_daemon ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/tst_daemon
chmod 0440 /etc/sudoers.d/tst_daemon

cd / # Where the test was may be hidden by now.
exec python3 -c "$terminals"
