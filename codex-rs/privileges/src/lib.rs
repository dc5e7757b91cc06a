//! What an account may become: every known way from it to root is looked for, sudo is given up for good, and that it is
//! gone is proved by trying.
//!
//! Nothing is changed by [`audit()`] and [`plan()`]. [`apply()`] changes what the plan says and takes it back when a step
//! fails. [`SudoRelinquished`] is evidence: only [`verify()`] makes one, after it has tried to become root and failed.
//!
//! The account itself is the attacker: it runs programs while root does all this, and whatever it can write may be a trap.
//! So nothing of its is followed, waited for or run.
//!
//! Start reading at [`audit()`], then [`Plan`].
#![cfg(unix)] // codex-process-hardening says why, in one sentence.
#![forbid(unsafe_code)]

mod account;
mod finding;
mod leading;

pub use account::{Account, AccountError, Membership};
pub use finding::{Closing, Finding, Grade};
pub use leading::{LEADING, Leading, leading};

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::by_hand;

#[cfg(target_os = "linux")]
mod apply;
#[cfg(target_os = "linux")]
mod audit;
#[cfg(target_os = "linux")]
mod carrying_out;
#[cfg(target_os = "linux")]
mod evidence;
#[cfg(target_os = "linux")]
mod group_file;
#[cfg(target_os = "linux")]
mod journal;
#[cfg(target_os = "linux")]
mod plan;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod subject;
#[cfg(target_os = "linux")]
mod sudo;
#[cfg(target_os = "linux")]
mod then_exec;
#[cfg(target_os = "linux")]
mod tools;
#[cfg(target_os = "linux")]
mod verify;

#[cfg(target_os = "linux")]
pub use {
    apply::{
        Administered, ApplyError, DropIn, Intent, Outcome, PamEdit, Step, StepReport, WriteError,
    },
    audit::{Administrators, Audit, Plant, Progress, SudoState, audit},
    carrying_out::{apply, end_processes, left_running},
    evidence::SudoRelinquished,
    journal::{Entry, Journal, JournalError},
    plan::{Plan, Refusal, plan},
    processes::StaleProcess,
    sudo::proof::{Proof, ProofError, SecondLock},
    sudo::view::ViewError,
    then_exec::{fresh_command, terminal_is_anothers},
    tools::ToolError,
    verify::{Closed, NotGone, Verified, recheck, verify},
};

/// What no audit can tell, and nobody should believe of one.
pub const NEVER_DECIDED: [&str; 4] = [
    "a back door that somebody put there earlier, as root",
    "errors in the kernel, or in a program that runs as root",
    "whoever can touch the machine, its console or its disks",
    "passwords and keys of other accounts that the account knows",
];
