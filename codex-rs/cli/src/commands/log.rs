//! `codex proxy log`: the records of a running proxy, or of a file, and those that come.

use std::io;
use std::pin::pin;
use std::time::Duration;

use codex_request_log::Filter;
use nix::unistd::User;
use tokio::time::{Instant, sleep_until};

use super::End;
use super::error::CommandError;
use super::found;
use super::log_source::LogSource;
use super::log_view::LogView;
use super::screen::{Screen, reader_leaves, say};
use crate::args::LogArgs;

/// Lines that come together are shown together: so long they may wait for each other.
const TOGETHER: Duration = Duration::from_millis(50);
/// No more than so many wait when they go on coming.
const MOST_TOGETHER: usize = 1_024;

pub(crate) async fn log(args: LogArgs, screen: &mut Screen) -> Result<End, CommandError> {
    let user = args.user.as_deref().map(uid_of).transpose()?;
    let filter = Filter { uid: user, model: args.model, outcome: args.outcome, since: args.since };
    let nothing = nothing(&filter, args.lines);
    let mut ended = "the log has ended".to_owned();
    let source = match args.file {
        Some(file) => LogSource::of_file(file, args.lines, args.follow, filter)?,
        None => {
            let proxy = found::the_one(args.which.server_info).await?;
            ended =
                format!("the proxy has ended: pid {}, port {}", proxy.info.pid, proxy.info.port);
            LogSource::of_proxy(&proxy, args.lines, args.follow, filter).await?
        }
    };
    let mut view = LogView::new(args.json, args.follow);
    if !args.follow {
        return all(source, &mut view, screen, nothing).await;
    }
    tokio::select! {
        shown = as_they_come(source, &mut view, screen) => {
            shown?;
            say(&ended);
            Ok(End::Done)
        }
        Ok(()) = tokio::signal::ctrl_c() => Ok(End::Interrupted),
        () = reader_leaves() => Ok(End::Done),
    }
}

/// What is said where there is nothing to show.
fn nothing(filter: &Filter, lines: usize) -> &'static str {
    if *filter == Filter::default() && lines > 0 { "no record yet" } else { "no record fits" }
}

/// Shows a log that has an end, as one table.
async fn all(
    mut source: LogSource,
    view: &mut LogView,
    screen: &mut Screen,
    nothing: &str,
) -> Result<End, CommandError> {
    while let Some(line) = source.next().await? {
        view.push(line);
    }
    if view.waiting() == 0 {
        say(nothing);
        return Ok(End::Done);
    }
    view.show(screen)?;
    Ok(End::Done)
}

/// Shows lines as they come, those together that come together.
async fn as_they_come(
    mut source: LogSource,
    view: &mut LogView,
    screen: &mut Screen,
) -> Result<(), CommandError> {
    let mut show_at = Instant::now() + TOGETHER;
    loop {
        let line = {
            // Never dropped half-way: a line that has come in part must not be lost.
            let mut next = pin!(source.next());
            loop {
                let is_due = view.waiting() > 0 || view.is_new();
                tokio::select! {
                    biased;
                    line = &mut next => break line?,
                    () = sleep_until(show_at), if is_due => view.show(screen)?,
                }
            }
        };
        let Some(line) = line else { return view.show(screen) };
        if view.waiting() == 0 && !view.is_new() {
            show_at = Instant::now() + TOGETHER;
        }
        view.push(line);
        if view.waiting() >= MOST_TOGETHER || Instant::now() >= show_at {
            view.show(screen)?;
        }
    }
}

/// The account that was named, or its number.
fn uid_of(user: &str) -> Result<u32, CommandError> {
    if let Ok(uid) = user.parse() {
        return Ok(uid);
    }
    let no_such = |source| CommandError::NoSuchUser { user: user.to_owned(), source };
    match User::from_name(user) {
        Ok(Some(found)) => Ok(found.uid.as_raw()),
        Ok(None) => Err(no_such(None)),
        Err(errno) => Err(no_such(Some(io::Error::from(errno)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_it_says_whether_anything_was_left_out() {
        let filter = Filter { uid: Some(1_000), ..Filter::default() };
        assert_eq!(nothing(&Filter::default(), 50), "no record yet");
        assert_eq!(nothing(&Filter::default(), 0), "no record fits");
        assert_eq!(nothing(&filter, 50), "no record fits");
    }

    #[test]
    fn an_account_has_a_name_or_a_number() {
        assert_eq!(uid_of("root").unwrap(), 0);
        assert_eq!(uid_of("61234").unwrap(), 61_234);
        for wrong in ["no-such-account", "-1", "4294967296", ""] {
            assert!(matches!(uid_of(wrong), Err(CommandError::NoSuchUser { .. })), "{wrong:?}");
        }
    }
}
