//! The steps, one after the other; and back again when one fails.
//!
//! The journal is on the disk before a step changes anything. A deed is remembered before it acts, so that one that
//! fails half-way is taken back as well.

use std::mem;
use std::path::Path;

use super::deed::{Deed, Due, Trouble, Undone};
use super::{ApplyError, Outcome, Step, StepReport};
use crate::journal::Journal;

/// What of a step is not so yet. Asked when its turn has come.
pub(super) type Look<'i> = Box<dyn Fn() -> Result<Due<'i>, Trouble> + 'i>;

/// A step that this run has begun.
struct Begun<'i> {
    step: Step,
    /// Its place in the journal.
    entry: usize,
    /// Those that acted, or tried to.
    deeds: Vec<Box<dyn Deed + 'i>>,
}

pub(super) struct Run<'r, 'i> {
    journals: &'r Path,
    journal: Journal,
    told: &'r mut dyn FnMut(&StepReport),
    reports: Vec<StepReport>,
    begun: Vec<Begun<'i>>,
}

impl<'r, 'i> Run<'r, 'i> {
    pub(super) fn new(
        journals: &'r Path,
        journal: Journal,
        told: &'r mut dyn FnMut(&StepReport),
    ) -> Self {
        Self { journals, journal, told, reports: Vec::new(), begun: Vec::new() }
    }

    /// All of them, or as good as none.
    pub(super) fn all(
        mut self,
        steps: Vec<(Step, Look<'i>)>,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Vec<StepReport>, ApplyError> {
        for (step, look) in steps {
            let done = if interrupted() {
                Err(Trouble::new("it was interrupted", "run it again when you want to go on"))
            } else {
                self.step(step, &look)
            };
            if let Err(trouble) = done {
                return Err(self.take_back(step, trouble));
            }
        }
        Ok(self.reports)
    }

    fn step(&mut self, step: Step, look: &Look<'i>) -> Result<(), Trouble> {
        match look()? {
            Due::Nothing => {
                self.settle(step)?;
                self.report(step, Outcome::Skipped, Vec::new());
            }
            Due::Already(details) => {
                self.settle(step)?;
                self.report(step, Outcome::Already, details);
            }
            Due::Deeds(deeds) => {
                let (outcome, details) = self.act(step, deeds)?;
                self.report(step, outcome, details);
            }
        }
        Ok(())
    }

    /// What a killed run has begun is done: nothing of it is left.
    fn settle(&mut self, step: Step) -> Result<(), Trouble> {
        if self.journal.settle(step.name()) {
            self.journal.write_in(self.journals)?;
        }
        Ok(())
    }

    fn act(
        &mut self,
        step: Step,
        deeds: Vec<Box<dyn Deed + 'i>>,
    ) -> Result<(Outcome, Vec<String>), Trouble> {
        let plans = deeds.iter().map(|deed| deed.plan()).collect();
        let reverse = deeds.iter().filter_map(|deed| deed.reverse()).collect();
        let entry = self.journal.begin(step.name(), plans, reverse);
        self.begun.push(Begun { step, entry, deeds: Vec::new() });
        self.journal.write_in(self.journals)?;
        let (mut outcome, mut details) = (Outcome::Done, Vec::new());
        for mut deed in deeds {
            let acted = deed.act();
            if let Some(begun) = self.begun.last_mut() {
                begun.deeds.push(deed);
            }
            match acted {
                Ok(detail) => details.push(detail),
                Err(trouble) if step.is_vital() => return Err(trouble),
                Err(Trouble { because, hint }) => {
                    outcome = Outcome::Failed;
                    details.push(format!("{because} ({hint})"));
                }
            }
        }
        self.enter(entry, outcome, details.clone());
        self.journal.write_in(self.journals)?;
        Ok((outcome, details))
    }

    /// What the journal says of a step from now on.
    fn enter(&mut self, entry: usize, outcome: Outcome, details: Vec<String>) {
        let Some(entry) = self.journal.steps.get_mut(entry) else { return };
        outcome.name().clone_into(&mut entry.outcome);
        entry.details = details;
    }

    fn report(&mut self, step: Step, outcome: Outcome, details: Vec<String>) {
        let report = StepReport { step, outcome, details };
        (self.told)(&report);
        self.reports.push(report);
    }

    /// The last step first.
    fn take_back(mut self, failed: Step, trouble: Trouble) -> ApplyError {
        let Trouble { because, hint } = trouble;
        self.report(failed, Outcome::Failed, vec![because.clone()]);
        let (mut undone, mut left) = (Vec::new(), Vec::new());
        for begun in mem::take(&mut self.begun).into_iter().rev() {
            let (back, stays) = taken_back(&begun);
            self.enter_taken_back(&begun, failed, &because, &back, &stays);
            if !back.is_empty() {
                self.report(begun.step, Outcome::Undone, back.clone());
            }
            undone.extend(back);
            left.extend(stays);
        }
        if let Err(error) = self.journal.write_in(self.journals) {
            let Trouble { because, .. } = error.into();
            left.push(format!("the journal does not tell how this ended: {because}"));
        }
        ApplyError { step: failed, because, hint, reports: self.reports.into(), undone, left }
    }

    fn enter_taken_back(
        &mut self,
        begun: &Begun<'_>,
        failed: Step,
        because: &str,
        back: &[String],
        stays: &[String],
    ) {
        let Some(entry) = self.journal.steps.get_mut(begun.entry) else { return };
        if begun.step == failed {
            Outcome::Failed.name().clone_into(&mut entry.outcome);
            entry.details = vec![because.to_owned()];
        } else if stays.is_empty() {
            Outcome::Undone.name().clone_into(&mut entry.outcome);
        }
        if stays.is_empty() {
            entry.reverse.clear(); // There is nothing left to take back.
        }
        entry.details.extend(back.iter().chain(stays).cloned());
    }
}

/// What is as it was, and what is not.
fn taken_back(begun: &Begun<'_>) -> (Vec<String>, Vec<String>) {
    let (mut back, mut stays) = (Vec::new(), Vec::new());
    for deed in begun.deeds.iter().rev() {
        match deed.undo() {
            Undone::Yes(words) => back.push(words),
            Undone::NotNeeded => {}
            Undone::No(words) => stays.push(words),
        }
    }
    (back, stays)
}

#[cfg(test)]
mod tests;
