//! What each verb's help says after its flags: examples, and exit codes.

pub(super) const STATUS_HELP: &str = "\
Examples:
  codex proxy status
  codex proxy status --json | jq '.proxies[].status.counters'

Exit codes: 0 every proxy found runs, 1 none was found, or one does not run or is not to be trusted, 2 wrong usage.";

pub(super) const LOG_HELP: &str = "\
Examples:
  codex proxy log -f
  codex proxy log --since 1h --outcome refused --json | jq
  codex proxy log --file /var/log/codex-proxy.jsonl --user alice -n 1000

TIME is like 10m or 2h, which counts back from now (a bare number counts seconds), or like 2027-01-15 or 2027-01-15T08:00:00Z. All times are in UTC.
Exit codes: 0 shown (with -f: the proxy has ended), 1 failed, 2 wrong usage, 130 ended with ^C.";

pub(super) const STOP_HELP: &str = "\
Examples:
  codex proxy stop
  codex proxy stop --now

It returns once the proxy's process is gone.
Exit codes: 0 stopped, 1 failed, 2 wrong usage, 130 ended with ^C (the proxy stops nevertheless).";

pub(super) const ROTATE_KEY_HELP: &str = "\
Examples:
  printenv NEW_KEY | codex proxy rotate-key
  codex proxy rotate-key </root/new-key
  codex proxy rotate-key

It takes the new key as the start of a proxy does: from standard input, or asks for it at a terminal and does not show it. Standard input itself is handed to the proxy, which reads it. Only root, the account that serves and the one that started the proxy may do so. A key that can't be used changes nothing.
Exit codes: 0 replaced, 1 failed (the old key stays), 2 wrong usage, 130 ended with ^C.";

pub(super) const POINT_HELP: &str = "\
Examples:
  codex proxy point --dry-run
  codex proxy point
  codex proxy point --profile && codex -p openai-proxy
  sudo codex proxy point --user alice

It writes CODEX_HOME/config.toml (~/.codex/config.toml) and keeps all that is in it; `codex proxy unpoint` undoes it.
Exit codes: 0 Codex uses the proxy (with --dry-run: shown), 1 failed, or another layer of the configuration decides, or the proxy does not serve this account, or the turn of --verify failed, 2 wrong usage, 130 ended with ^C.";

pub(super) const UNPOINT_HELP: &str = "\
Examples:
  codex proxy unpoint
  codex proxy unpoint --purge --dry-run
  codex proxy unpoint --purge

It needs no proxy.
Exit codes: 0 undone, or nothing was to be done, 1 failed, or another layer of the configuration still points there, 2 wrong usage, 130 ended with ^C.";

pub(super) const DOCTOR_HELP: &str = "\
Examples:
  codex proxy doctor
  codex proxy doctor --json | jq '.findings[] | select(.grade != \"pass\")'

It writes nothing, spends no key and shows none: only where one lies. Ask it as the account that runs Codex.
Exit codes: 0 nothing fails, 1 something does, 2 wrong usage, 130 ended with ^C.";

pub(super) const RELINQUISH_SUDO_HELP: &str = "\
Examples:
  codex proxy relinquish-sudo --plan
  codex proxy relinquish-sudo
  sudo codex proxy relinquish-sudo --user alice
  sudo codex proxy relinquish-sudo --yes-relinquish \"$USER\" --json --end-processes
  sudo codex proxy relinquish-sudo --yes-relinquish \"$USER\" --then-exec codex exec 'say hi'

It goes through sudo by itself, one last time, shows what it would do, and asks for the account's name. This account can't take it back: start the proxy first.
Exit codes: 0 sudo is gone, which was tried, and no other way to root is known (with --plan: shown), 1 failed or refused (all is as it was, unless it says otherwise), 2 wrong usage, 3 sudo is gone but another way to root is open, 130 ended with ^C. With --then-exec, after 0 or 3: the program's.";

pub(super) const COMPLETION_HELP: &str = "\
Examples:
  codex proxy completion bash >~/.local/share/bash-completion/completions/codex
  codex proxy completion fish >~/.config/fish/completions/codex.fish

They are for the name that the program was called by. For bash and fish the file's name must be that name, too.";
