#!/usr/bin/env bash
# A machine with one account that is to give sudo up, another administrator, and a judge. Called by a test, as root, in a
# private mount namespace of its own; see stories/relinquish/machine.rs. Without arguments it makes the machine, says
# `ready` and stays until its standard input ends. With arguments it calls one of its functions, in that same namespace.
#
# WORK: a folder for this run. BUILT: where the binary is. ACCOUNT: the uid (and gid) of tst_u.
set -euo pipefail
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022

# Others of the machine. Groups: one of the administrators' own, and one like docker's.
readonly OTHER=62201 THIRD=62202 OPS=62203 DOCKER=62204
# More than this makes a tree a big one: nothing that is asked of this machine lies there, and a search would take long.
readonly BIG=300

make_machine() {
  # Copies of what is about to be covered. An overlay's upper layer can't lie on an overlay itself.
  local scratch=$WORK/scratch folder
  mkdir "$scratch"
  mount -t tmpfs -o mode=700 tmpfs "$scratch"
  cp "$BUILT" "$scratch/codex"
  cp "${BASH_SOURCE[0]}" "$scratch/machine.sh"
  echo "ACCOUNT=$ACCOUNT" >"$scratch/settings"
  printf '%s required pam_permit.so\n' auth account password session >"$scratch/permit"
  mkdir "$scratch/lower"
  mount --bind /etc "$scratch/lower"
  cover_big_trees
  # Last of the covers: the scratch may lie below any of them.
  mkdir "$scratch/new"
  mount --move "$scratch" /mnt
  for folder in /*/; do
    folder=${folder%/}
    case ${folder#/} in
    bin | sbin | lib* | usr | etc | dev | proc | sys | var | mnt | lost+found) ;;
    tmp) mount -t tmpfs -o mode=1777 tmpfs /tmp ;;
    home | run) mount -t tmpfs -o mode=755 tmpfs "$folder" ;;
    root) mount -t tmpfs -o mode=700 tmpfs /root ;;
    *) [ -L "$folder" ] || mount -t tmpfs -o mode=755,nosuid tmpfs "$folder" ;;
    esac
  done
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  # Of /var the packages' lists are kept, read-only.
  mkdir -p /mnt/new/lib/dpkg /mnt/new/{log,spool,cache}
  [ ! -d /var/lib/dpkg ] || mount --bind -o ro /var/lib/dpkg /mnt/new/lib/dpkg
  mount --rbind /mnt/new /var
  mkdir -m 1777 /var/tmp
  ln -s /run /var/run
  mount -t tmpfs -o mode=755 tmpfs /usr/local/bin
  install -o root -m 755 /mnt/codex /usr/local/bin/codex
  # An editor that a rule may name, whatever is installed: what can be typed into it does not matter to the judge.
  install -o root -m 755 /bin/true /usr/local/bin/vim
  reset
}

# Covers every big tree of the system's that no program of ours needs.
cover_big_trees() {
  local folder
  for folder in /usr/*/ /usr/lib/*/ /usr/share/*/ /usr/local/*/ /usr/libexec/*/ /var/lib/*/; do
    folder=${folder%/}
    case $folder in
    *-linux-gnu* | */perl* | /usr/lib | /usr/share | /usr/local | /usr/bin | /usr/sbin | /usr/lib64 | */dpkg) continue ;;
    esac
    [ ! -L "$folder" ] || continue
    if [ "$(find "$folder" -xdev 2>/dev/null | head -n "$BIG" | wc -l)" -ge "$BIG" ]; then
      mount -t tmpfs -o mode=755,nosuid tmpfs "$folder"
    fi
  done
}

# All as at the beginning. An upper layer is not used twice.
reset() {
  local layers covered
  for covered in /etc /usr/bin /usr/sbin /var/lib/codex-responses-api-proxy; do
    while mountpoint --quiet "$covered"; do umount --lazy "$covered"; done
  done
  layers=$(mktemp -d /mnt/layers.XXXXXX)
  chmod 755 "$layers"
  mkdir "$layers"/{upper,work}
  mount -t overlay -o "lowerdir=/mnt/lower,upperdir=$layers/upper,workdir=$layers/work" overlay /etc
  rm -rf /run/* /var/lib/codex-responses-api-proxy /home/tst_* /opt/* /mnt/terminal
  install -d -m 755 /run/lock
  people
  printf '%s\n' 'Defaults env_reset' 'Defaults use_pty' \
    'Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"' \
    'root ALL=(ALL:ALL) ALL' '%sudo ALL=(ALL:ALL) ALL' 'tst_third ALL=(root) /usr/bin/id' \
    '@includedir /etc/sudoers.d' >/etc/sudoers
  chmod 0440 /etc/sudoers
  find /etc/sudoers.d -mindepth 1 -delete
  printf '%s\n' '127.0.0.1 localhost' "127.0.1.1 $(hostname)" >/etc/hosts
}

people() {
  local file name number
  # As long as a real one, and no password's.
  local hash='$6$abcdefgh$'
  hash+=$(printf 'x%.0s' {1..86})
  rm -rf /etc/codex
  for file in passwd group shadow gshadow; do
    sed -i '/^\(tst_u\|tst_other\|tst_third\|tst_ops\|docker\|sudo\):/d' "/etc/$file"
  done
  sed -i "/^[^:]*:[^:]*:\($ACCOUNT\|$OTHER\|$THIRD\|$OPS\|$DOCKER\|27\):/d" /etc/group
  sed -i 's/^root:[^:]*:/root:*:/' /etc/shadow
  for name in "tst_u $ACCOUNT" "tst_other $OTHER" "tst_third $THIRD"; do
    number=${name#* } name=${name% *}
    echo "$name:x:$number:$number::/home/$name:/bin/sh" >>/etc/passwd
    echo "$name:$hash:20000:0:99999:7:::" >>/etc/shadow
    echo "$name:x:$number:" >>/etc/group
    echo "$name:!::" >>/etc/gshadow
    install -d -o "$number" -g "$number" -m 700 "/home/$name"
  done
  printf '%s\n' "sudo:x:27:tst_other" "tst_ops:x:$OPS:tst_other" "docker:x:$DOCKER:tst_other" >>/etc/group
  printf '%s\n' 'sudo:*::tst_other' 'tst_ops:!::tst_other' 'docker:!::tst_other' >>/etc/gshadow
}

# What a case changes before it begins: lines of this shell, with these words. -------------------------------------------

# Lines of a file in /etc/sudoers.d.
rule() { printf '%s\n' "$@" >/etc/sudoers.d/agents && chmod 0440 /etc/sudoers.d/agents; }
# Lines of another file, which is not read by itself.
included() { printf '%s\n' "$@" >/etc/sudoers.agents && chmod 0440 /etc/sudoers.agents; }
# Lines of /etc/sudoers itself, before and after its @includedir.
main() { printf '%s\n' "$@" >/mnt/lines && sed -i '/^@includedir/e cat /mnt/lines' /etc/sudoers; }
late() { printf '%s\n' "$@" >>/etc/sudoers; }
join() { sed -i "s/^\($1:.*[^:]\)$/\1,tst_u/" /etc/group /etc/gshadow; }
# The judge has to come from a terminal.
on_terminal() { : >/mnt/terminal; }
lay() { eval "$1"; }

# A program goes from the system's folders.
without() {
  local folder name layers
  for folder in /usr/bin /usr/sbin; do
    layers=$(mktemp -d /mnt/layers.XXXXXX)
    chmod 755 "$layers"
    mkdir "$layers"/{upper,work}
    mount -t overlay -o "lowerdir=$folder,upperdir=$layers/upper,workdir=$layers/work" overlay "$folder"
  done
  for name in "$@"; do rm -f "/usr/bin/$name" "/usr/sbin/$name"; done
}
read_only() { mount -o remount,ro /etc; }
# Where /etc is written to has this many pages of room left; where the journal lies is not meant.
room() {
  mountpoint --quiet /var/lib/codex-responses-api-proxy || {
    mkdir -p /var/lib/codex-responses-api-proxy
    mount -t tmpfs -o mode=755 tmpfs /var/lib/codex-responses-api-proxy
  }
  mount -o "remount,size=$(($(df --block-size=1K --output=used /mnt | tail -n 1) + 4 * $1))k" /mnt
}
enough_room() { mount -o remount,size=1g /mnt; }

# A ticket as `sudo -v` leaves one: made at a terminal, with authentication stubbed.
ticket() { unshare --mount --propagation private bash "${BASH_SOURCE[0]}" ticket_inside; }
ticket_inside() {
  mount --bind /mnt/permit /etc/pam.d/sudo
  script --quiet --return --command "setpriv --reuid $ACCOUNT --regid $ACCOUNT --init-groups --reset-env sudo -v" /dev/null
}

# What is looked at. ------------------------------------------------------------------------------------------------------

# All of /etc: what each is, whose, and what is in it.
fingerprint() {
  cd /etc
  find . -printf '%p %y %m %u:%g %l\n' | sort
  find . -type f -print0 | sort --zero-terminated | xargs --null sha256sum
}

# What the others may do, and where they belong.
others() {
  local name
  for name in root tst_other tst_third; do sudo -l -U "$name" 2>&1 || true; done
  sed 's/,tst_u\>//' /etc/group
}

rules() { cvtsudoers -e -f json /etc/sudoers; }

# The judge: knows nothing of how anything was closed, only whether this uid becomes somebody by sudo. Real policy; only
# authentication is stubbed, in a mount namespace of its own. UID, and gids that it may have got hold of besides those of
# a login. Says `open HOW` for each way; with FIRST=1 only for the first.
can_become_root() { unshare --mount --propagation private bash "${BASH_SOURCE[0]}" judge_permitting "$@"; }
# The same, but the account part of PAM is the machine's own, and rules of ours are not read: the second lock alone.
passes_pam() { unshare --mount --propagation private bash "${BASH_SOURCE[0]}" judge_accounts "$@"; }

judge_permitting() {
  local service
  for service in sudo sudo-i; do
    [ ! -e "/etc/pam.d/$service" ] || mount --bind /mnt/permit "/etc/pam.d/$service"
  done
  judge "$@"
}

judge_accounts() {
  local service
  rm -f /etc/sudoers.d/zzzz-codex-*
  for service in sudo sudo-i; do
    [ -e "/etc/pam.d/$service" ] || continue
    { echo 'auth required pam_permit.so' && grep '^account' "/etc/pam.d/$service" || true
      echo 'account required pam_permit.so' && echo 'session required pam_permit.so'; } >"/mnt/accounts.$service"
    mount --bind "/mnt/accounts.$service" "/etc/pam.d/$service"
  done
  judge "$@"
}

judge() {
  local uid=$1 login primary gid held
  shift
  mkdir -p /run/sudo
  mount -t tmpfs -o mode=711 tmpfs /run/sudo
  # Whoever can't say that a way is open must not say that it is closed.
  setsid --wait setpriv --reuid tst_other --regid tst_other --init-groups --reset-env sudo -- /bin/true </dev/null
  login=$(id -G "$uid" | tr ' ' ,)
  primary=$(id -g "$uid")
  held=fresh
  try_all "$uid" "$primary" "$login"
  for gid in "$@"; do
    held="group $gid"
    try_all "$uid" "$primary" "$login,$gid"
    held="rgid $gid"
    try_all "$uid" "$gid" "$login"
  done
}

try_all() {
  as=(setpriv --reuid "$1" --regid "$2" --groups "$3" --reset-env env EDITOR=/bin/true)
  try 'as root' -- /bin/true
  try 'as the uid 0' -u '#0' -- /bin/true
  try 'as the group root' -g root -- /bin/true
  try 'as nobody' -u nobody -- /bin/true
  try 'as another administrator' -u tst_other -- /bin/true
  try 'a login shell' -i -- /bin/true
  try 'a shell' -s -- /bin/true
  try 'an edited file' -e /etc/hostname
  # Editors and package managers start shells.
  try 'vim' -l -- /usr/local/bin/vim
  try 'apt-get' -l -- /usr/bin/apt-get
}

# `sudo -n` would say that a password is required although nothing is: without it, and with nothing to read one from.
try() {
  local how=$1
  shift
  if [ -e /mnt/terminal ]; then
    as_one_word=$(printf '%q ' "${as[@]}" sudo "$@")
    script --quiet --return --command "$as_one_word" /dev/null </dev/null >/dev/null 2>&1 || return 0
  else
    timeout 10 setsid --wait "${as[@]}" sudo "$@" </dev/null >/dev/null 2>&1 || return 0
  fi
  echo "open $held $how"
  [ -z "${FIRST-}" ] || exit 0
}

# The groups of a login besides the own one.
held() { id -G tst_u | tr ' ' '\n' | grep -vx "$ACCOUNT" || true; }

# Stopped on the way. ------------------------------------------------------------------------------------------------------

# The program, with strace beside its main thread from just before the first change on: whoever holds the lock of the
# journals makes it wait there. From its start it can't be traced: it looks for that, and refuses. The calls of other
# threads and of its children are neither seen nor counted. Says how it ended; what it said is in /mnt/said.
traced() {
  local journals=/var/lib/codex-responses-api-proxy/relinquished lock pid tracer
  install -d -m 755 "${journals%/*}"
  install -d -m 700 "$journals"
  rm -f /mnt/trace /mnt/attached
  exec {lock}<"$journals"
  flock "$lock"
  setsid codex proxy relinquish-sudo --user tst_u --yes-relinquish tst_u --end-processes --json \
    </dev/null >/mnt/said 2>/mnt/errors {lock}<&- &
  pid=$!
  for_long_or "$pid" waits_at "$pid" "$journals"
  strace -o /mnt/trace "$@" -p "$pid" </dev/null >/dev/null 2>/mnt/attached {lock}<&- &
  tracer=$!
  for_long_or "$tracer" grep --quiet --no-messages attached /mnt/attached
  exec {lock}<&-
  local ended=0
  wait "$pid" || ended=$?
  wait "$tracer" || true
  echo "$ended"
}

# Whether the program has this folder open. (Before it is the program, it has all that the shell has.)
waits_at() {
  local file
  [ "/proc/$1/exe" -ef /usr/local/bin/codex ] || return 1
  for file in "/proc/$1/fd"/*; do
    [ ! "$file" -ef "$2" ] || return 0
  done
  return 1
}

# Waits for it to come true, as long as that process runs.
for_long_or() {
  local pid=$1 tries
  shift
  for tries in {1..1500}; do
    ! "$@" || return 0
    if ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 0.02
  done
  echo "not so after $tries tries: $*" >&2
  cat /mnt/errors /mnt/attached >&2 || true
  exit 1
}

# Rules made by chance. ----------------------------------------------------------------------------------------------------

# Each folder in /mnt/cases is one case: `sudoers` and what it may include, `agents` and `d`. What is seen is left beside
# them, as it is before and after our rule, /mnt/rule, comes to them. What visudo does not accept is left alone.
try_cases() {
  local case
  for case in /mnt/cases/*; do
    lay_case "$case"
    if visudo -c -f /etc/sudoers >/mnt/opinion 2>&1; then
      look_at "$case/before"
      install -m 0440 /mnt/rule "/etc/sudoers.d/zzzz-codex-$ACCOUNT"
      visudo -c -f /etc/sudoers >/mnt/opinion 2>&1 || mv /mnt/opinion "$case/broken"
      look_at "$case/after"
    else
      mv /mnt/opinion "$case/invalid"
    fi
  done
}

lay_case() {
  find /etc/sudoers.d -mindepth 1 -delete
  install -m 0440 "$1/sudoers" /etc/sudoers
  install -m 0440 "$1/agents" '/etc/sudoers agents'
  find "$1/d" -type f -exec install -m 0440 --target-directory=/etc/sudoers.d -- {} +
}

look_at() {
  local name
  rules >"$1.rules" 2>/dev/null
  for name in root tst_other tst_third nobody; do sudo -l -U "$name" 2>&1 || true; done >"$1.others"
  # Rules of chance may shut the other administrator out: then the judge can't say anything.
  FIRST=1 can_become_root "$ACCOUNT" >"$1.open" 2>/dev/null || mv "$1.open" "$1.unjudged"
}

# What people do today. -----------------------------------------------------------------------------------------------------

classic() { deluser tst_u sudo >/dev/null 2>&1 || gpasswd -d tst_u sudo >/dev/null 2>&1 || true; }
line_stripping() {
  find /etc/sudoers /etc/sudoers.d -type f,l -exec sed -i '/^tst_u[[:space:]]/d' {} +
}

if [ $# -gt 0 ]; then
  # shellcheck source=/dev/null
  . /mnt/settings
  "$@"
  exit
fi
make_machine
echo ready
exec cat
