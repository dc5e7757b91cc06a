//! What was typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use codex_request_log::Outcome;
use codex_responses_api_proxy::ServeArgs;

/// The key guard for Codex: an agent uses your OpenAI API key and can't read it
#[derive(Debug, Parser)]
#[command(
    name = "codex",
    version,
    arg_required_else_help = true,
    after_help = "See it work, with no key and no account: codex proxy demo\n\
        Every other command line is the public Codex CLI's: npm install -g @openai/codex"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) program: Program,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Program {
    /// Serve the Responses API on 127.0.0.1 with a key that clients never see
    ///
    /// Reads the key from standard input, accepts exactly POST /v1/responses on 127.0.0.1, and
    /// forwards it with the key to the upstream. Without a verb it serves.
    #[command(
        name = "responses-api-proxy",
        visible_alias = "proxy",
        after_help = codex_responses_api_proxy::AFTER_HELP
    )]
    Proxy(ProxyArgs),
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ProxyArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show the whole path on this machine: no account, no network, no key of yours
    #[cfg(feature = "demo")]
    Demo {
        /// One JSON object a line instead of text
        #[arg(long)]
        json: bool,
    },
    /// Show the proxies that run: where, for whom, how protected, and what they have done
    #[command(after_help = STATUS_HELP)]
    Status(StatusArgs),
    /// Show who used the key, for which model, how much and how it ended
    #[command(after_help = LOG_HELP)]
    Log(LogArgs),
    /// Stop the proxy: nothing new is accepted, running answers may end
    #[command(after_help = STOP_HELP)]
    Stop(StopArgs),
    /// Give the proxy a new key: what comes uses it, running answers end with the old one
    #[command(after_help = ROTATE_KEY_HELP)]
    RotateKey(RotateKeyArgs),
    /// Make Codex use the proxy, and say whether it really does
    #[command(after_help = POINT_HELP)]
    Point(PointArgs),
    /// Undo what point did, and nothing else
    #[command(after_help = UNPOINT_HELP)]
    Unpoint(UnpointArgs),
    /// Look at what stands between you and a working, safe set-up, and say what to do about it
    #[command(after_help = DOCTOR_HELP)]
    Doctor(DoctorArgs),
    /// Give an account's sudo up for good, and prove that it is gone
    #[command(after_help = RELINQUISH_SUDO_HELP)]
    RelinquishSudo(RelinquishSudoArgs),
    /// Print the completions of a shell
    #[command(after_help = COMPLETION_HELP)]
    Completion {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

const STATUS_HELP: &str = "\
Examples:
  codex proxy status
  codex proxy status --json | jq '.proxies[].status.counters'

Exit codes: 0 every proxy found runs, 1 none was found, or one does not run or is not to be trusted, 2 wrong usage.";

const LOG_HELP: &str = "\
Examples:
  codex proxy log -f
  codex proxy log --since 1h --outcome refused --json | jq
  codex proxy log --file /var/log/codex-proxy.jsonl --user alice -n 1000

TIME is like 10m or 2h, which counts back from now (a bare number counts seconds), or like 2027-01-15 or 2027-01-15T08:00:00Z. All times are in UTC.
Exit codes: 0 shown (with -f: the proxy has ended), 1 failed, 2 wrong usage, 130 ended with ^C.";

const STOP_HELP: &str = "\
Examples:
  codex proxy stop
  codex proxy stop --now

It returns once the proxy's process is gone.
Exit codes: 0 stopped, 1 failed, 2 wrong usage, 130 ended with ^C (the proxy stops nevertheless).";

const ROTATE_KEY_HELP: &str = "\
Examples:
  printenv NEW_KEY | codex proxy rotate-key
  codex proxy rotate-key </root/new-key
  codex proxy rotate-key

It takes the new key as the start of a proxy does: from standard input, or asks for it at a terminal and does not show it. Standard input itself is handed to the proxy, which reads it. Only root, the account that serves and the one that started the proxy may do so. A key that can't be used changes nothing.
Exit codes: 0 replaced, 1 failed (the old key stays), 2 wrong usage, 130 ended with ^C.";

const POINT_HELP: &str = "\
Examples:
  codex proxy point --dry-run
  codex proxy point
  codex proxy point --profile && codex -p openai-proxy
  sudo codex proxy point --user alice

It writes CODEX_HOME/config.toml (~/.codex/config.toml) and keeps all that is in it; `codex proxy unpoint` undoes it.
Exit codes: 0 Codex uses the proxy (with --dry-run: shown), 1 failed, or another layer of the configuration decides, or the proxy does not serve this account, or the turn of --verify failed, 2 wrong usage, 130 ended with ^C.";

const UNPOINT_HELP: &str = "\
Examples:
  codex proxy unpoint
  codex proxy unpoint --purge --dry-run
  codex proxy unpoint --purge

It needs no proxy.
Exit codes: 0 undone, or nothing was to be done, 1 failed, or another layer of the configuration still points there, 2 wrong usage, 130 ended with ^C.";

const DOCTOR_HELP: &str = "\
Examples:
  codex proxy doctor
  codex proxy doctor --json | jq '.findings[] | select(.grade != \"pass\")'

It writes nothing, spends no key and shows none: only where one lies. Ask it as the account that runs Codex.
Exit codes: 0 nothing fails, 1 something does, 2 wrong usage, 130 ended with ^C.";

const RELINQUISH_SUDO_HELP: &str = "\
Examples:
  codex proxy relinquish-sudo --plan
  codex proxy relinquish-sudo
  sudo codex proxy relinquish-sudo --user alice
  sudo codex proxy relinquish-sudo --yes-relinquish \"$USER\" --json --end-processes
  sudo codex proxy relinquish-sudo --yes-relinquish \"$USER\" --then-exec codex exec 'say hi'

It goes through sudo by itself, one last time, shows what it would do, and asks for the account's name. This account can't take it back: start the proxy first.
Exit codes: 0 sudo is gone, which was tried, and no other way to root is known (with --plan: shown), 1 failed or refused (all is as it was, unless it says otherwise), 2 wrong usage, 3 sudo is gone but another way to root is open, 130 ended with ^C. With --then-exec, after 0 or 3: the program's.";

const COMPLETION_HELP: &str = "\
Examples:
  codex proxy completion bash >~/.local/share/bash-completion/completions/codex
  codex proxy completion fish >~/.config/fish/completions/codex.fish

They are for the name that the program was called by. For bash and fish the file's name must be that name, too.";

/// Which proxy is meant.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct Which {
    /// The proxy that wrote this file [default: CODEX_PROXY_SERVER_INFO, else those in the run folders]
    #[arg(long, value_name = "FILE")]
    pub(crate) server_info: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) which: Which,

    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct LogArgs {
    /// At most so many records of the past
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = count, allow_hyphen_values = true)]
    pub(crate) lines: usize,

    /// Go on with what comes, until the proxy ends or ^C
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// One JSON object a line instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    /// Requests since then
    #[arg(long, value_name = "TIME", value_parser = since, allow_hyphen_values = true)]
    pub(crate) since: Option<SystemTime>,

    /// Requests of this account
    #[arg(long, value_name = "NAME|UID")]
    pub(crate) user: Option<String>,

    /// Requests for this model
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,

    /// Requests that ended like this
    #[arg(long, value_name = "WORD", value_parser = outcome())]
    pub(crate) outcome: Option<Outcome>,

    /// Read a file that --log-file wrote instead of asking a proxy
    #[arg(long, value_name = "FILE", conflicts_with = "server_info")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct StopArgs {
    /// Cut running answers instead of letting them end
    #[arg(long)]
    pub(crate) now: bool,

    #[command(flatten)]
    pub(crate) which: Which,

    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct RotateKeyArgs {
    #[command(flatten)]
    pub(crate) which: Which,

    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct PointArgs {
    #[command(flatten)]
    pub(crate) which: Which,

    /// What listens on this port of 127.0.0.1: a proxy, or a program of root's or of your own
    #[arg(long, value_name = "PORT", conflicts_with = "server_info", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

    /// Write a profile for `codex -p openai-proxy` and change no default
    #[arg(long)]
    pub(crate) profile: bool,

    /// Show what would be written, and write nothing
    #[arg(long, conflicts_with = "verify")]
    pub(crate) dry_run: bool,

    /// Then run one small turn of Codex, which the owner of the key pays for; asks first
    #[arg(long)]
    pub(crate) verify: bool,

    /// Agree to that turn
    #[arg(long, requires = "verify")]
    pub(crate) yes: bool,

    /// As root: do it for this account, as that account
    #[arg(long, value_name = "NAME|UID")]
    pub(crate) user: Option<String>,

    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct UnpointArgs {
    /// Take the table out as well: the file is what it was, but old sessions can't be opened any more
    #[arg(long)]
    pub(crate) purge: bool,

    /// The profile of `point --profile`
    #[arg(long)]
    pub(crate) profile: bool,

    /// Show what would be written, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// As root: do it for this account, as that account
    #[arg(long, value_name = "NAME|UID")]
    pub(crate) user: Option<String>,

    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) which: Which,

    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct RelinquishSudoArgs {
    /// As root: the account that gives sudo up [default: the one that called sudo]
    #[arg(long, value_name = "NAME|UID", value_hint = ValueHint::Username)]
    pub(crate) user: Option<String>,

    /// Look, show what would be done, and change nothing
    #[arg(long, conflicts_with_all = ["yes_relinquish", "end_processes", "then_exec"])]
    pub(crate) plan: bool,

    /// Agree beforehand, by the account's name: for scripts
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Username)]
    pub(crate) yes_relinquish: Option<String>,

    /// Agree to ending processes that keep what was given up
    #[arg(long)]
    pub(crate) end_processes: bool,

    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Then become this program, as the account and with none of its old rights; takes all that follows
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true, value_hint = ValueHint::CommandName)]
    pub(crate) then_exec: Vec<OsString>,
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "write a number like 50".to_owned())
}

/// A time back from now, or a moment.
fn since(text: &str) -> Result<SystemTime, String> {
    since_of(text, SystemTime::now())
}

fn since_of(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let of_day = |_| humantime::parse_rfc3339(&format!("{text}T00:00:00Z"));
    if let Ok(moment) = humantime::parse_rfc3339_weak(text).or_else(of_day) {
        return Ok(moment);
    }
    let back = match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    let back = back.ok_or("write it like 10m, 2h, 2027-01-15 or 2027-01-15T08:00:00Z")?;
    // Longer ago than any clock goes back: since ever.
    Ok(now.checked_sub(back).unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::UNIX_EPOCH))
}

/// Its words, which help and completions show, too.
fn outcome() -> impl TypedValueParser<Value = Outcome> {
    let words = Outcome::ALL.iter().map(|outcome| outcome.code());
    PossibleValuesParser::new(words).try_map(|word: String| word.parse::<Outcome>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_time_counts_back_from_now_or_is_a_moment() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (text, expected) in [
            ("10m", Some(999_400)),
            ("2h", Some(992_800)),
            ("1h 30m", Some(994_600)),
            ("90", Some(999_910)),
            ("1000y", Some(0)),
            ("1970-01-02T00:00:00Z", Some(86_400)),
            ("1970-01-02 00:00:01", Some(86_401)),
            ("2027-01-15", Some(1_799_971_200)),
            ("1970-01-02", Some(86_400)),
            ("2027-13-15", None),
            ("2027-1-5", None),
            ("soon", None),
            ("-1", None),
            ("-1h", None),
            ("", None),
        ] {
            let seen = since_of(text, at(1_000_000)).ok();
            assert_eq!(seen, expected.map(at), "{text:?}");
        }
    }

    #[test]
    fn what_is_less_than_nothing_is_told_how_to_write_it() {
        for (flag, value, expected) in [
            ("--since", "-1h", "write it like 10m, 2h, 2027-01-15 or 2027-01-15T08:00:00Z"),
            ("-n", "-1", "write a number like 50"),
        ] {
            let arguments = ["codex", "proxy", "log", flag, value];
            let error = Args::try_parse_from(arguments).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_program_to_become_takes_all_that_follows() {
        let typed = ["--json", "--then-exec", "codex", "--json", "--", "-x"];
        let typed = ["codex", "proxy", "relinquish-sudo"].into_iter().chain(typed);
        let Program::Proxy(proxy) = Args::try_parse_from(typed).unwrap().program;
        let Some(Verb::RelinquishSudo(args)) = proxy.verb else { panic!("{:?}", proxy.verb) };
        let expected = ["codex", "--json", "--", "-x"].map(OsString::from).to_vec();
        assert_eq!((args.json, args.then_exec), (true, expected));
    }

    #[test]
    fn every_outcome_can_be_asked_for_and_no_other_word() {
        for outcome in Outcome::ALL {
            let arguments = ["codex", "proxy", "log", "--outcome", outcome.code()];
            assert!(Args::try_parse_from(arguments).is_ok(), "{outcome:?}");
        }
        assert!(Args::try_parse_from(["codex", "proxy", "log", "--outcome", "lost"]).is_err());
    }
}
