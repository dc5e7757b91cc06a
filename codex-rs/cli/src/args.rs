//! What was typed.

use clap::{Args as ClapArgs, Parser, Subcommand};
use codex_responses_api_proxy::ServeArgs;

/// The key guard for Codex: an agent uses your OpenAI API key and can't read it
#[derive(Debug, Parser)]
#[command(
    name = "codex",
    version,
    arg_required_else_help = true,
    after_help = "See it work, with no key and no account: codex proxy demo"
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
}
