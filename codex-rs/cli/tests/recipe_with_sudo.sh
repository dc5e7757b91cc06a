#!/usr/bin/env bash
# The README's recipe for one account with sudo, run by such an account. Called by a test, as root, in
# a private mount namespace of its own; see stories/recipe_with_sudo.rs.
#
# WORK: a folder for this run; authority.pem lies in it. BUILT: where the binary is.
# NODE_MODULES: where the Codex CLI is. UPSTREAM_URL, KEY: what the mock upstream has and expects.
set -euo pipefail

# Copies of what is about to be changed. An overlay's upper layer can't lie on an overlay itself.
scratch=$WORK/scratch
mkdir "$scratch"
mount -t tmpfs -o mode=755 tmpfs "$scratch"
mkdir "$scratch"/{etc,work,home,built}
cp "$BUILT/codex" "$WORK/authority.pem" "$scratch/built/"
mkdir "$scratch/node_modules"
mount --bind "$NODE_MODULES" "$scratch/node_modules"
mount -t overlay -o "lowerdir=/etc,upperdir=$scratch/etc,workdir=$scratch/work" overlay /etc
rm -rf /etc/codex
mount -t tmpfs -o mode=755 tmpfs /usr/local/bin
# The one proxy of this machine is found by itself, whatever else runs on the host.
mount -t tmpfs -o mode=755 tmpfs /run
ln -s "$(readlink -f /usr/bin/node)" /usr/local/bin/node
# Last, and with the run's own files moved to where every account may reach them.
mount --move "$scratch" /mnt
mount -t tmpfs -o mode=1777 tmpfs /tmp

useradd --home-dir /mnt/home/tst_recipe --create-home --shell /bin/bash tst_recipe
echo 'tst_recipe ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/tst_recipe
chmod 0440 /etc/sudoers.d/tst_recipe

exec setpriv --reuid tst_recipe --regid tst_recipe --init-groups --reset-env \
  env "OPENAI_API_KEY=$KEY" "UPSTREAM_URL=$UPSTREAM_URL" bash -euo pipefail <<'AS_THE_USER'
cd
# 1. Root-owned binaries, never over somebody else's.
[ ! -e /usr/local/bin/codex ]
sudo install -o root -m 755 /mnt/built/codex /usr/local/bin/codex

# 2. The proxy as root. The command returns when it serves.
printenv OPENAI_API_KEY | sudo codex responses-api-proxy --http-shutdown --server-info /tmp/server-info.json --daemon \
  --upstream-url "$UPSTREAM_URL" --upstream-ca /mnt/built/authority.pem
unset OPENAI_API_KEY

# Its port and its process, read from the file.
PORT=$(sed -n 's/.*"port":\([0-9]*\).*/\1/p' /tmp/server-info.json)
PID=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' /tmp/server-info.json)
trap 'sudo kill "$PID"' EXIT # Of a run that fails nothing stays.
echo "proxy uid $(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$PID/status")"
if cat "/proc/$PID/environ" >/dev/null 2>&1; then echo "memory open"; else echo "memory closed"; fi

# 3. Codex pointed at it: shown, done, used through our `codex`, and undone to the same bytes.
export CODEX_REAL_BIN=/mnt/node_modules/.bin/codex
mkdir -m 700 .codex
echo '# My settings' >.codex/config.toml
codex proxy point --dry-run
if [ "$(cat .codex/config.toml)" = '# My settings' ]; then echo "shown, not done"; fi
codex proxy point
said=$(codex exec --skip-git-repo-check 'say hi' </dev/null)
echo "pointed codex said $said"
codex proxy unpoint --purge
echo "left in .codex: $(ls .codex/config.toml*): $(cat .codex/config.toml)"

# 4. Codex pointed at it for one run: by a word to ours, and by hand.
said=$(CODEX_PROXY=1 codex exec --skip-git-repo-check 'say hi' </dev/null)
echo "codex for one run said $said"
said=$(/mnt/node_modules/.bin/codex exec --skip-git-repo-check \
  -c 'model_provider="openai-proxy"' \
  -c "model_providers.openai-proxy={name=\"Codex key guard\",base_url=\"http://127.0.0.1:$PORT/v1\",wire_api=\"responses\"}" \
  'say hi' </dev/null)
echo "codex said $said"

# 5. The end. It is nobody's child here, so it may stay a zombie (proc(5): state Z, X).
curl --fail --silent --show-error "http://127.0.0.1:$PORT/shutdown"
runs() { grep -qs $'^State:\t[^ZX]' "/proc/$PID/status"; }
for _ in $(seq 400); do runs || break; sleep 0.05; done
if runs; then echo "process left"; else echo "process gone"; trap - EXIT; fi
if [ -e /tmp/server-info.json ]; then echo "file left"; else echo "file gone"; fi
AS_THE_USER
