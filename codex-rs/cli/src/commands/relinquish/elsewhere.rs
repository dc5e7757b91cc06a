//! `codex proxy relinquish-sudo` where it is not made for: it shows what an administrator would type, and does nothing.

use codex_privileges::by_hand;

use super::error::RelinquishError;
use super::whom;
use crate::args::RelinquishSudoArgs;
use crate::commands::End;
use crate::commands::error::CommandError;
use crate::commands::screen::{Screen, say};
use crate::commands::sheet::Sheet;

pub(crate) async fn relinquish_sudo(
    args: RelinquishSudoArgs,
    screen: &mut Screen,
) -> Result<End, CommandError> {
    let account = whom::account(args.user.as_deref())?;
    if args.json || !args.plan {
        return Err(RelinquishError::OnlyOnLinux.into());
    }
    let mut sheet = Sheet::new(screen.width);
    sheet.paragraph(&format!("Giving up the sudo of {}, by hand", account.words()));
    by_hand(&account).iter().for_each(|step| sheet.paragraph(&format!("- {step}")));
    sheet.lines.iter().try_for_each(|line| screen.line(line))?;
    screen.flush()?;
    say("nothing was changed, and nothing is proved on this system: none of it was tried there");
    Ok(End::Done)
}
