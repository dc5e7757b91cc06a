//! `codex proxy point`: makes an account's Codex use the proxy, and says whether it really does.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use codex_config::{Change, CodexHome, ConfigError, Deed, PROVIDER, edit};
use codex_responses_api_proxy::plain::plain;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use super::as_user::{self, Whose};
use super::error::CommandError;
use super::pointing_text::{
    Found, InEffect, State, Told, as_json, fitted, path_words, pointing_lines,
};
use super::screen::{Screen, say};
use super::settled::{self, in_effect};
use super::target::{self, Target};
use super::verify::{self, Turn, Verified, Watch};
use super::{End, diff};
use crate::args::PointArgs;

pub(crate) async fn point(args: PointArgs, screen: &mut Screen) -> Result<End, CommandError> {
    let Prepared { whose, target, watch, home, change } = prepare(&args).await?;
    let mut told = told_of(&change, &whose, args.profile)?;
    told.base_url = Some(target.base_url());
    told.pid = target.pid;
    if args.dry_run {
        let state = if change.is_none() { State::AlreadyPointed } else { State::WouldChange };
        return preview(Told { state, ..told }, &change, args.json, screen);
    }
    told.state = if change.is_none() { State::AlreadyPointed } else { State::Pointed };
    apply(change, &mut told)?;
    tell_what_is_so(&mut told, &target, &whose, &home).await;
    if !args.json {
        show(&pointing_lines(&told), screen).map_err(done_untold)?;
    }
    let ended = match watch {
        Some(watch) if told.has_effect == Some(true) => {
            let turn = Turn { home: &home, profile: args.profile };
            let screen = (!args.json).then_some(&mut *screen);
            verified(&turn, watch, args.yes, &mut told, screen).await
        }
        Some(_) => {
            say("not verified: it has no effect");
            Ok(End::No)
        }
        None if told.has_effect == Some(true) => Ok(End::Done),
        None => Ok(End::No),
    };
    if args.json {
        tell_json(&told, screen).map_err(done_untold)?;
    }
    ended
}

/// All that is known before anything is written.
struct Prepared {
    whose: Whose,
    target: Target,
    watch: Option<Watch>,
    home: CodexHome,
    change: Change,
}

/// Finds the proxy, becomes the account, and plans.
async fn prepare(args: &PointArgs) -> Result<Prepared, CommandError> {
    let whose = as_user::whose(args.user.as_deref())?;
    // What another account's configuration makes Codex run would have our terminal and our descriptors.
    if args.verify && !whose.has_our_environment() {
        return Err(CommandError::VerifyForOther { account: whose.words() });
    }
    if args.verify && !args.yes && !std::io::stdin().is_terminal() {
        return Err(CommandError::NobodyToAsk);
    }
    let target = target::find(args.which.server_info.clone(), args.port, whose.uid()).await?;
    let mut watch = None;
    if args.verify {
        watch = Some(Watch::open(&target, whose.uid()).await?);
    }
    // The proxy was still looked for as root, if this is root; all else is done as the account itself.
    whose.take_on()?;
    let home = whose.codex_home()?;
    let file = file(&home, args.profile);
    whose.check_way(&home, &file)?;
    let change = Change::plan(&file, &Deed::Point { base_url: target.base_url() })?;
    Ok(Prepared { whose, target, watch, home, change })
}

/// The real turn; what comes of it is said, unless it is told as JSON.
async fn verified(
    turn: &Turn<'_>,
    watch: Watch,
    yes: bool,
    told: &mut Told,
    screen: Option<&mut Screen>,
) -> Result<End, CommandError> {
    let verified = verify::verify(turn, watch, yes).await;
    told.verified = match &verified {
        Ok(Verified::Seen(_)) => Some(true),
        Err(CommandError::NotVerified { .. }) => Some(false),
        // No turn was run, or none to its end.
        Ok(Verified::Declined | Verified::Interrupted) | Err(_) => None,
    };
    match verified? {
        Verified::Seen(record) => {
            if let Some(screen) = screen {
                let sentence = plain(&verify::sentence(&record)).into_owned();
                show(&[sentence], screen).map_err(done_untold)?;
            }
            Ok(End::Done)
        }
        Verified::Declined => {
            say("not verified: nothing was asked of the upstream");
            Ok(End::Done)
        }
        Verified::Interrupted => {
            say("not verified: interrupted; the pointing stays");
            Ok(End::Interrupted)
        }
    }
}

async fn tell_what_is_so(told: &mut Told, target: &Target, whose: &Whose, home: &CodexHome) {
    let effective = in_effect(home, told.profile);
    let settled = settled::settle(target, whose, home, &effective).await;
    told.effective = Some(InEffect::from(&effective));
    told.has_effect = Some(settled.has_effect);
    told.warnings.extend(settled.warnings);
    told.notes.extend(settled.notes);
}

/// The file that is changed.
pub(crate) fn file(home: &CodexHome, profile: bool) -> PathBuf {
    if profile { home.profile(PROVIDER) } else { home.config() }
}

/// What there is to tell before anything is done.
pub(crate) fn told_of(change: &Change, whose: &Whose, profile: bool) -> Result<Told, CommandError> {
    let said = match change.before().map(edit::read).transpose() {
        Ok(said) => said.unwrap_or_default(),
        Err(source) => {
            return Err(ConfigError::Edit { file: change.file().to_owned(), source }.into());
        }
    };
    // One that has our id and is left alone leads to a table that is not ours.
    let is_foreign = |selector: &String| selector != PROVIDER || change.is_none();
    let foreign_selector = said.selector.filter(is_foreign);
    let found = Found {
        is_there: change.before().is_some(),
        goes: change.before().is_some() && change.after().is_none(),
        foreign_selector,
        has_table: said.has_table,
    };
    Ok(Told {
        file: path_words(change.file()),
        place: path_words(change.place()),
        profile,
        account: (!whose.has_our_environment()).then(|| whose.words()),
        warnings: change.warnings(),
        found,
        ..Told::default()
    })
}

/// Writes, if there is something to write. If not, it still removes a backup that one of us left who was killed at the
/// end of a purge.
pub(crate) fn apply(change: Change, told: &mut Told) -> Result<(), CommandError> {
    let is_none = change.is_none();
    let applied = undisturbed(|| change.apply())?;
    if !is_none {
        told.backup = applied.backup.as_deref().map(path_words);
        told.is_backup_new = applied.is_new;
    }
    Ok(())
}

/// Lines on the screen, in its width.
pub(crate) fn show(lines: &[String], screen: &mut Screen) -> Result<(), CommandError> {
    let lines = fitted(lines, screen.width);
    lines.iter().try_for_each(|line| screen.line(line))?;
    screen.flush()
}

/// Does this without an interruption: ^C and its like come before or after it, so that no temporary file stays.
fn undisturbed<T>(act: impl FnOnce() -> T) -> T {
    let mut held = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP] {
        held.add(signal);
    }
    let before = held.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let done = act();
    if let Ok(before) = before {
        let _ = before.thread_set_mask(); // It was valid a moment ago.
    }
    done
}

/// Shows what would be done. Nothing is.
pub(crate) fn preview(
    mut told: Told,
    change: &Change,
    json: bool,
    screen: &mut Screen,
) -> Result<End, CommandError> {
    let diff = |colour| changes(change.place(), change, colour);
    if json {
        told.diff = Some(diff(false));
        tell_json(&told, screen)?;
        return Ok(End::Done);
    }
    if change.is_none() {
        let lines = match told.state {
            State::AlreadyPointed => pointing_lines(&told),
            _ => super::pointing_text::unpointing_lines(&told),
        };
        // What follows the first is for those who do it.
        show(&lines[..1], screen)?;
    } else {
        screen.text(&diff(screen.colour))?;
        screen.flush()?;
    }
    for warning in &told.warnings {
        say(&plain(&format!("warning: {warning}")));
    }
    say("nothing was written");
    Ok(End::Done)
}

fn changes(place: &Path, change: &Change, colour: bool) -> String {
    if change.is_none() {
        return String::new();
    }
    diff::unified(place, change.before(), change.after(), colour)
}

pub(crate) fn tell_json(told: &Told, screen: &mut Screen) -> Result<(), CommandError> {
    let json = as_json(told).map_err(|error| CommandError::Output(std::io::Error::other(error)))?;
    screen.line(&json)?;
    screen.flush()
}

/// It was done by then.
pub(crate) fn done_untold(error: CommandError) -> CommandError {
    match error {
        CommandError::Output(error) => CommandError::DoneUntold(error),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_sends_waits_until_it_is_done() {
        let held = || {
            let held = SigSet::thread_get_mask().unwrap();
            [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP]
                .map(|signal| held.contains(signal))
        };
        assert_eq!((held(), undisturbed(held), held()), ([false; 4], [true; 4], [false; 4]));
    }
}
