//! `codex proxy relinquish-sudo`: an account's sudo given up for good, and proof that it is gone.
//!
//! Nothing is changed before the person has seen the plan and typed the account's name. From then on ^C and its like can
//! undo or wait, but not leave half of it. What it is about and why stands in docs/guides/relinquish-sudo.md.

use codex_privileges::{Account, Journal, NotGone, Plan, Refusal};
use codex_responses_api_proxy::plain::{plain, plain_json};
use nix::unistd::geteuid;

use super::confirm::{self, Consent};
use super::error::RelinquishError;
use super::json::Object;
use super::preview::{self, Planned, Seen};
use super::signals::Signals;
use super::through_sudo::{self, Shut, Through};
use super::told::{self, Verdict};
use super::{looking, then_exec, whom};
use crate::args::RelinquishSudoArgs;
use crate::commands::End;
use crate::commands::doctor::tell_only_where_it_panicked;
use crate::commands::error::CommandError;
use crate::commands::screen::{Screen, StatusLine, say};

pub(super) const NOTHING_CHANGED: &str = "nothing was changed";
const VERIFYING: &str = "trying to become root in every way that is known";

pub(crate) async fn relinquish_sudo(
    args: RelinquishSudoArgs,
    screen: &mut Screen,
) -> Result<End, CommandError> {
    tell_only_where_it_panicked();
    let account = match whom::account(args.user.as_deref()) {
        Ok(account) => account,
        Err(error) => return never_begun(&args, screen, None, error.into()),
    };
    let shut = match begin(&args, &account).await {
        Ok(Begun::Elsewhere(end)) => return Ok(end),
        Ok(Begun::Here(shut)) => shut,
        Err(error) => return never_begun(&args, screen, Some(&account), error),
    };
    // Before the first thread: what is held is held by all of them.
    let signals = Signals::hold().map_err(RelinquishError::Signals)?;
    let object = Object::about(Some(&account));
    let mut run = Run { args: &args, account: &account, signals: &signals, screen, object };
    let ended = match shut {
        Some(shut) => run.without_root(shut),
        None => run.as_root(),
    };
    tell_object(&args, run.screen, &mut run.object, &ended)?;
    match ended? {
        end @ (End::Done | End::PathOpen) if !args.plan => {
            then_exec::go_on(&args, &account, signals, end)
        }
        end => Ok(end),
    }
}

/// Where it goes on.
enum Begun {
    /// It went through sudo, and ended there.
    Elsewhere(End),
    /// In this process, and if not as root, why.
    Here(Option<Shut>),
}

async fn begin(args: &RelinquishSudoArgs, account: &Account) -> Result<Begun, CommandError> {
    confirm::check_name(args.yes_relinquish.as_deref(), account)?;
    then_exec::check(args, account)?;
    if geteuid().is_root() {
        return Ok(Begun::Here(None));
    }
    Ok(match through_sudo::run(args, account).await? {
        Through::Ended(end) => Begun::Elsewhere(end),
        Through::Shut(shut) => Begun::Here(Some(shut)),
    })
}

/// What was wrong before anything was looked at.
fn never_begun(
    args: &RelinquishSudoArgs,
    screen: &mut Screen,
    account: Option<&Account>,
    error: CommandError,
) -> Result<End, CommandError> {
    let ended = Err(error);
    tell_object(args, screen, &mut Object::about(account), &ended)?;
    ended
}

/// What one run has at hand, and what there will be to tell of it.
struct Run<'r> {
    args: &'r RelinquishSudoArgs,
    account: &'r Account,
    signals: &'r Signals,
    screen: &'r mut Screen,
    object: Object,
}

impl Run<'_> {
    /// Look, plan, ask, apply, end processes, verify, tell.
    fn as_root(&mut self) -> Result<End, CommandError> {
        let Some(audit) = looking::look(self.account, self.signals)? else {
            return Ok(self.given_up());
        };
        self.object.audited(&audit);
        let seen = preview::seen_lines(&Seen::from(&audit), self.screen.width);
        let plan = match codex_privileges::plan(audit) {
            Ok(plan) => plan,
            Err(refusal) => {
                let _ = self.show(&seen); // What it refused counts, read or not.
                if refusal.is_nothing_to_do() {
                    return Ok(self.nothing_to_give_up(&refusal));
                }
                return Err(RelinquishError::Refused(Box::new(refusal)).into());
            }
        };
        self.object.planned(&plan);
        let shown = self.show(&preview::plan_lines(&Planned::from(&plan), self.screen.width));
        if self.args.plan {
            shown?;
            if plan.is_done {
                self.try_again()?;
            }
            say(NOTHING_CHANGED);
            return Ok(End::Done);
        }
        // Nobody agrees to what they could not read.
        shown.map_err(unseen)?;
        if !plan.is_done
            && let Some(end) = self.ask(&plan)?
        {
            return Ok(end);
        }
        // Tickets may have come since, and a journal may have been lost.
        if let Some(end) = self.apply(&plan)? {
            return Ok(end);
        }
        self.end_processes(&plan);
        self.verify(&plan)
    }

    /// What was given up before is believed only once it has been tried again.
    fn try_again(&mut self) -> Result<(), CommandError> {
        let evidence = match codex_privileges::recheck(self.account) {
            Ok(evidence) => evidence,
            // Its rule and its line are there, but nobody has ever verified them.
            Err(NotGone::Never { .. }) => return Ok(()),
            Err(error) => return Err(RelinquishError::NotGone(Box::new(error)).into()),
        };
        self.show(&told::evidence_lines(&evidence.words(), self.screen.width))?;
        self.object.tried_again(evidence);
        Ok(())
    }

    /// Root will do nothing for the account: who only wants to look sees what it can see itself.
    fn without_root(&mut self, shut: Shut) -> Result<End, CommandError> {
        let error = shut.error(self.account, self.args.plan);
        if !self.args.plan {
            return Err(error.into());
        }
        let Some(audit) = looking::look(self.account, self.signals)? else {
            return Ok(self.given_up());
        };
        self.object.audited(&audit);
        let told = error.hint().map(|hint| format!("{error}; {hint}"));
        let given_up = told.as_deref().filter(|_| shut == Shut::GivenUp);
        let seen = Seen { given_up, ..Seen::from(&audit) };
        let shown = self.show(&preview::seen_lines(&seen, self.screen.width));
        if given_up.is_none() {
            return Err(error.into()); // Read or not.
        }
        shown?;
        say(NOTHING_CHANGED);
        Ok(End::Done)
    }

    /// `None` is a yes.
    fn ask(&mut self, plan: &Plan) -> Result<Option<End>, CommandError> {
        let is_sole = plan.audit.others.is_sole();
        Ok(match confirm::consent(self.args, self.account, is_sole, self.signals)? {
            Consent::Agreed => None,
            Consent::Declined => {
                say(NOTHING_CHANGED);
                Some(End::No)
            }
            Consent::Interrupted => Some(self.given_up()),
        })
    }

    /// `None`: it is done. Whoever reads standard output may leave; what was begun is brought to its end.
    fn apply(&mut self, plan: &Plan) -> Result<Option<End>, CommandError> {
        self.object.begins();
        let _ = self.show(&told::headline(self.account, plan.is_done, self.screen.width));
        let (signals, is_json) = (self.signals, self.args.json);
        let (screen, object) = (&mut *self.screen, &mut self.object);
        let applied = codex_privileges::apply(
            plan,
            &mut |report| {
                object.stepped(report);
                if !is_json {
                    let lines = told::step_lines(report, screen.width, screen.colour);
                    let _ = put(&lines, screen);
                }
            },
            &|| signals.have_come(),
        );
        let Err(error) = applied else { return Ok(None) };
        self.object.left(&error.left);
        let _ = self.show(&told::undone_lines(&error.undone, &error.left, self.screen.width));
        if self.signals.have_come() {
            say(&plain(&format!("interrupted: {error}")));
            return Ok(Some(End::Interrupted));
        }
        Err(RelinquishError::Applying(Box::new(error)).into())
    }

    /// Those that still have what was given up; asked for, because they may be somebody's work.
    fn end_processes(&mut self, plan: &Plan) {
        let is_any = !plan.to_end.is_empty();
        let is_agreed = is_any && confirm::ending(self.args, &plan.to_end, self.signals);
        let report = if is_agreed {
            codex_privileges::end_processes(plan)
        } else {
            codex_privileges::left_running(plan)
        };
        self.object.stepped(&report);
        if report.details.is_empty() {
            return; // There was nothing.
        }
        let lines = told::step_lines(&report, self.screen.width, self.screen.colour);
        let _ = self.show(&lines);
    }

    fn verify(&mut self, plan: &Plan) -> Result<End, CommandError> {
        let mut line = StatusLine::open();
        line.tell(&looking::fitted(VERIFYING, line.width().unwrap_or_default()));
        let verified = codex_privileges::verify(plan);
        drop(line); // What comes next has its place.
        let verified = verified.map_err(|error| RelinquishError::NotGone(Box::new(error)))?;
        self.object.verified(&verified);
        let journal = Journal::path(self.account.uid);
        let verdict = Verdict {
            account: self.account,
            closed: &verified.closed,
            open: &verified.open,
            undecided: &verified.undecided,
            stale: &verified.stale,
            journal: &journal,
        };
        // It is so, read or not: the exit code tells as well.
        let _ = self.show(&told::verdict_lines(&verdict, self.screen.width, self.screen.colour));
        Ok(if verified.open.is_empty() { End::Done } else { End::PathOpen })
    }

    /// It has no sudo: that is no failure, but there may be other ways to root.
    fn nothing_to_give_up(&mut self, refusal: &Refusal) -> End {
        say(&plain(&format!("{refusal}; {NOTHING_CHANGED}")));
        self.object.without_sudo();
        if self.object.has_open_path() { End::PathOpen } else { End::Done }
    }

    /// ^C before anything was done.
    fn given_up(&self) -> End {
        say(NOTHING_CHANGED);
        End::Interrupted
    }

    fn show(&mut self, lines: &[String]) -> Result<(), CommandError> {
        if self.args.json { Ok(()) } else { put(lines, self.screen) }
    }
}

fn tell_object(
    args: &RelinquishSudoArgs,
    screen: &mut Screen,
    object: &mut Object,
    ended: &Result<End, CommandError>,
) -> Result<(), CommandError> {
    if !args.json {
        return Ok(());
    }
    object.ends(ended, args.plan);
    let json = serde_json::to_string(object);
    let json = json.map_err(|error| CommandError::Output(std::io::Error::other(error)))?;
    let told = screen.line(&plain_json(&json)).and_then(|()| screen.flush());
    match told {
        Err(error) if args.plan && ended.is_ok() => Err(error),
        // What was done counts, and the exit code tells it as well.
        Err(error) => {
            say(&error.to_string());
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Made to fit, and all foreign words plain.
fn put(lines: &[String], screen: &mut Screen) -> Result<(), CommandError> {
    lines.iter().try_for_each(|line| screen.line(line))?;
    screen.flush()
}

/// A name as a question or a sentence may have it.
pub(super) fn shown_name(account: &Account) -> String {
    plain(&account.name).into_owned()
}

/// Somebody who has left has agreed to nothing.
fn unseen(error: CommandError) -> CommandError {
    match error {
        CommandError::Output(source) => RelinquishError::PlanUnseen(source).into(),
        other => other,
    }
}
