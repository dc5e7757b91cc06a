#!/usr/bin/env bash
# Makes two accounts and runs the proxy where they have names. Called by a test, as root, in a private mount
# namespace of its own; see stories/accounts.rs. The arguments are the proxy's command line; WORK is a folder for this run.
set -euo pipefail

# A copy of what is about to be changed. An overlay's upper layer can't lie on an overlay itself.
mount -t tmpfs -o mode=755 tmpfs "$WORK"
mkdir "$WORK"/{etc,work}
mount -t overlay -o "lowerdir=/etc,upperdir=$WORK/etc,workdir=$WORK/work" overlay /etc
useradd --no-create-home --uid "$ALICE" tst_alice
useradd --no-create-home --uid "$BOB" tst_bob
exec "$@"
