//! `codex proxy unpoint`: undoes what `point` did, and nothing else. It needs no proxy.

use codex_config::{Change, CodexHome, Deed};

use super::End;
use super::as_user;
use super::error::CommandError;
use super::point::{apply, done_untold, file, preview, show, tell_json, told_of};
use super::pointing_text::{InEffect, State, Told, unpointing_lines};
use super::screen::Screen;
use super::settled::in_effect;
use crate::args::UnpointArgs;

pub(crate) fn unpoint(args: UnpointArgs, screen: &mut Screen) -> Result<End, CommandError> {
    let whose = as_user::whose(args.user.as_deref())?;
    whose.take_on()?;
    let home = whose.codex_home()?;
    let deed = if args.purge { Deed::Purge } else { Deed::Unpoint };
    let file = file(&home, args.profile);
    whose.check_way(&home, &file)?;
    let change = Change::plan(&file, &deed)?;
    let mut told = told_of(&change, &whose, args.profile)?;
    if args.dry_run {
        let state = if change.is_none() { State::NotPointed } else { State::WouldChange };
        return preview(Told { state, ..told }, &change, args.json, screen);
    }
    told.state = match deed {
        _ if change.is_none() => State::NotPointed,
        Deed::Purge => State::Purged,
        _ => State::Unpointed,
    };
    apply(change, &mut told)?;
    tell_what_is_so(&mut told, &home);
    if args.json {
        tell_json(&told, screen).map_err(done_untold)?;
    } else {
        show(&unpointing_lines(&told), screen).map_err(done_untold)?;
    }
    Ok(if told.has_effect == Some(false) { End::No } else { End::Done })
}

fn tell_what_is_so(told: &mut Told, home: &CodexHome) {
    let effective = in_effect(home, told.profile);
    told.effective = Some(InEffect::from(&effective));
    // Another layer still says ours.
    told.has_effect = Some(!effective.is_ours());
    if effective.is_ours() {
        let layer = &effective.decided_by;
        told.warnings.push(format!("{layer} still makes Codex use the proxy"));
    }
    if told.state == State::Purged
        && let Some(selector) = &told.found.foreign_selector
    {
        told.notes.push(format!("{selector:?}, which it selects, is not ours and stays"));
    }
    if told.state == State::Purged
        && let Some(backup) = &told.backup
    {
        told.notes.push(format!("{backup} stays: it is not what the file is now"));
    }
    for problem in &effective.problems {
        told.warnings.push(format!("{}: {}", problem.file.display(), problem.what));
    }
}
