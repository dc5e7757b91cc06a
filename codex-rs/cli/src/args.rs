//! What was typed.

mod help;

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
    #[command(after_help = help::STATUS_HELP)]
    Status(StatusArgs),
    /// Show who used the key, for which model, how much and how it ended
    #[command(after_help = help::LOG_HELP)]
    Log(LogArgs),
    /// Stop the proxy: nothing new is accepted, running answers may end
    #[command(after_help = help::STOP_HELP)]
    Stop(StopArgs),
    /// Give the proxy a new key: what comes uses it, running answers end with the old one
    #[command(after_help = help::ROTATE_KEY_HELP)]
    RotateKey(RotateKeyArgs),
    /// Make Codex use the proxy, and say whether it really does
    #[command(after_help = help::POINT_HELP)]
    Point(PointArgs),
    /// Undo what point did, and nothing else
    #[command(after_help = help::UNPOINT_HELP)]
    Unpoint(UnpointArgs),
    /// Look at what stands between you and a working, safe set-up, and say what to do about it
    #[command(after_help = help::DOCTOR_HELP)]
    Doctor(DoctorArgs),
    /// Give an account's sudo up for good, and prove that it is gone
    #[command(after_help = help::RELINQUISH_SUDO_HELP)]
    RelinquishSudo(RelinquishSudoArgs),
    /// Print the completions of a shell
    #[command(after_help = help::COMPLETION_HELP)]
    Completion {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

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
