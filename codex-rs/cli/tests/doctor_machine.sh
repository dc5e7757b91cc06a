#!/usr/bin/env bash
# A machine with one person on it, who has a home and nothing in it. Called by a test, as root, in a private mount
# namespace of its own; see stories/doctor/machine.rs. It says `ready` and stays until its standard input ends.
#
# WORK: a folder for this run; what of it has to be there lies in WORK/given. BUILT: where the binary is.
# PERSON, ACCOUNT: the name and the uid.
set -euo pipefail

# Copies of what is about to be changed. An overlay's upper layer can't lie on an overlay itself.
scratch=$WORK/scratch
mkdir "$scratch"
mount -t tmpfs -o mode=755 tmpfs "$scratch"
mkdir "$scratch"/{etc,work}
cp "$BUILT" "$scratch/codex"
cp -r "$WORK/given" "$scratch/given"
mount -t overlay -o "lowerdir=/etc,upperdir=$scratch/etc,workdir=$scratch/work" overlay /etc
mount --move "$scratch" /mnt
for folder in /run /home /opt /usr/local/bin; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done

rm -rf /etc/codex
sed -i "/^$PERSON:/d; /:$ACCOUNT:/d" /etc/passwd /etc/group
echo "$PERSON:x:$ACCOUNT:$ACCOUNT::/home/alice:/bin/sh" >>/etc/passwd
printf '%s\n' "$PERSON:x:$ACCOUNT:" >>/etc/group
install -d -o "$ACCOUNT" -g "$ACCOUNT" -m 700 /home/alice
install -d -m 755 /run/user
install -d -o "$ACCOUNT" -g "$ACCOUNT" -m 700 "/run/user/$ACCOUNT"
install -o root -m 755 /mnt/codex /usr/local/bin/codex
install -o root -m 644 /mnt/given/authority.pem /etc/company-ca.pem

# The public Codex, as far as a doctor asks it: like the real one it makes folders before it says anything.
install -d -m 755 /opt/codex/bin
cat >/opt/codex/bin/codex <<'EOF'
#!/bin/sh
mkdir -p "${CODEX_HOME:-$HOME/.codex}/tmp"
echo codex-cli 0.169.0
EOF
chmod 755 /opt/codex/bin/codex

echo ready
exec cat
