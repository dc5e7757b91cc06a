//! Ending processes: told first, then made to.
//!
//! Each is held by a descriptor before it is looked at again, so that no signal ever goes to another process that has got
//! its number meanwhile.
//!
//! Source: pidfd_open(2), pidfd_send_signal(2).

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::facts::{Stat, threads};
use super::kin::Kin;
use super::{StaleProcess, Whose};

/// How long is waited after each signal.
const PATIENCE: Duration = Duration::from_secs(2);
/// Descriptors that are open at once.
const AT_ONCE: usize = 256;

/// What became of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is not there any more.
    Gone,
    /// It is still there, because of this.
    Stayed(String),
}

/// Ends one process.
#[cfg(test)]
fn end(process: &StaleProcess) -> Ended {
    end_all(std::slice::from_ref(process)).pop().unwrap_or(Ended::Gone)
}

/// Ends all of them at the same time, so that it takes no longer than one. In their order.
pub(crate) fn end_all(processes: &[StaleProcess]) -> Vec<Ended> {
    let kin = Kin::ours();
    processes.chunks(AT_ONCE).flat_map(|some| end_some(some, &kin, PATIENCE)).collect()
}

/// `patience`: how long is waited for those that are asked to.
fn end_some(processes: &[StaleProcess], kin: &Kin, patience: Duration) -> Vec<Ended> {
    let opened: Vec<_> = processes.iter().map(|process| open(process, kin)).collect();
    let all: Vec<&OwnedFd> = opened.iter().filter_map(|opened| opened.as_ref().ok()).collect();
    // Whoever started a program that waits for a password may have blocked the others, and it may come at any moment.
    let at_once = processes.iter().zip(&opened).filter(|(process, _)| process.gids.is_empty());
    let at_once: Vec<&OwnedFd> = at_once.filter_map(|(_, opened)| opened.as_ref().ok()).collect();
    send(&at_once, Signal::KILL);
    // An interactive shell ignores SIGTERM and ends at SIGHUP. What is stopped hears neither before it goes on.
    for signal in [Signal::HUP, Signal::TERM, Signal::CONT] {
        send(&all, signal);
    }
    let stubborn = wait(all, patience);
    send(&stubborn, Signal::KILL);
    wait(stubborn, PATIENCE);
    opened.into_iter().map(|opened| opened.map_or_else(|ended| ended, |fd| outcome(&fd))).collect()
}

/// The process, if it is the one that is meant and may be ended.
fn open(process: &StaleProcess, kin: &Kin) -> Result<OwnedFd, Ended> {
    let stays = |because: String| Err(Ended::Stayed(because));
    if process.is_ours || kin.has(process.pid) {
        return stays("this program runs under it".to_owned());
    }
    let number = i32::try_from(process.pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    let Some(pid) = number else { return stays(format!("{} is never ended", process.pid)) };
    let fd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(Errno::SRCH) => return Err(Ended::Gone),
        Err(error) => return stays(error.to_string()),
    };
    let is_it = Stat::of(process.pid).is_some_and(|stat| stat.started == process.started);
    if !is_it || threads(process.pid).is_empty() {
        return Err(Ended::Gone);
    }
    let is_meant = if process.gids.is_empty() {
        super::waiting::is_still_waiting(process) // It holds no group: what it is says it all.
    } else {
        !Whose::account(process.uid).held_by(process.pid).is_disjoint(&process.gids)
    };
    if !is_meant {
        return stays("it is not what it was: its account, its groups or its program".to_owned());
    }
    Ok(fd)
}

/// Errors show in what is left.
fn send(fds: &[&OwnedFd], signal: Signal) {
    for fd in fds {
        let _ = pidfd_send_signal(fd, signal);
    }
}

/// Waits until all have ended; returns those that have not in that time.
fn wait(mut fds: Vec<&OwnedFd>, patience: Duration) -> Vec<&OwnedFd> {
    let deadline = Instant::now() + patience;
    while !fds.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        fds = running(fds, left);
        if left.is_zero() {
            break;
        }
    }
    fds
}

/// Those that still run when one ends, or after this time.
fn running(fds: Vec<&OwnedFd>, patience: Duration) -> Vec<&OwnedFd> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
    let patience = Timespec::try_from(patience).unwrap_or_default();
    if poll(&mut polled, Some(&patience)).is_err() {
        return fds; // A signal of ours: it is asked again.
    }
    let has_ended: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
    fds.into_iter().zip(has_ended).filter(|(_, has_ended)| !has_ended).map(|(fd, _)| fd).collect()
}

fn outcome(fd: &OwnedFd) -> Ended {
    if running(vec![fd], Duration::ZERO).is_empty() {
        return Ended::Gone;
    }
    match pidfd_send_signal(fd, Signal::KILL) {
        Ok(()) => Ended::Stayed(format!("it has not ended within {PATIENCE:?} of SIGKILL")),
        Err(Errno::SRCH) => Ended::Gone,
        Err(error) => Ended::Stayed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal as Sent;

    use super::super::samples::{GID, Holder, UID};
    use super::*;

    /// A shell that hears no signal that can be ignored.
    const STUBBORN: [&str; 3] =
        ["sh", "-c", "trap '' HUP TERM; while read line; do echo \"$line\"; done"];

    fn known(holder: &Holder) -> StaleProcess {
        StaleProcess {
            pid: holder.pid(),
            uid: UID,
            started: Stat::of(holder.pid()).unwrap().started,
            name: "sample".to_owned(),
            command: String::new(),
            gids: [GID].into(),
            is_ours: false,
        }
    }

    #[test]
    fn a_process_is_told_to_end_and_one_that_does_not_listen_is_made_to() {
        let (Some(mut meek), Some(mut stopped), Some(mut stubborn)) =
            (Holder::start(&["cat"]), Holder::start(&["cat"]), Holder::start(&STUBBORN))
        else {
            return;
        };
        stopped.stop();
        let all = [known(&meek), known(&stopped)];
        assert_eq!(end_all(&all), [Ended::Gone, Ended::Gone]);
        let patience = Duration::from_millis(200);
        assert_eq!(end_some(&[known(&stubborn)], &Kin::ours(), patience), [Ended::Gone]);
        let told = [Sent::SIGHUP as i32, Sent::SIGTERM as i32].map(Some); // Under nohup(1) the first is ignored.
        assert!(told.contains(&meek.ended_by()) && told.contains(&stopped.ended_by()));
        assert_eq!(stubborn.ended_by(), Some(Sent::SIGKILL as i32));
        assert_eq!(end(&all[0]), Ended::Gone, "and again");
    }

    #[test]
    fn nothing_else_is_ended() {
        let Some(mut holder) = Holder::start(&["cat"]) else { return };
        let known = known(&holder);
        let younger = StaleProcess { started: known.started + 1, ..known.clone() };
        assert_eq!(end(&younger), Ended::Gone, "its number is another's now");
        for (other, because) in [
            (StaleProcess { uid: UID + 1, ..known.clone() }, "it is not what it was"),
            (StaleProcess { gids: [GID + 1].into(), ..known.clone() }, "it is not what it was"),
            (StaleProcess { is_ours: true, ..known.clone() }, "this program runs under it"),
            (StaleProcess { pid: 0, ..known.clone() }, "0 is never ended"),
            (StaleProcess { pid: u32::MAX, ..known.clone() }, "4294967295 is never ended"),
            (StaleProcess { pid: std::process::id(), ..known }, "this program runs under it"),
        ] {
            let ended = end(&other);
            assert!(
                matches!(&ended, Ended::Stayed(words) if words.starts_with(because)),
                "{ended:?} of {other:?}"
            );
        }
        holder.answer(); // It still does.
    }

    #[test]
    fn the_first_process_is_never_ended() {
        let first = StaleProcess {
            pid: 1,
            uid: 0,
            started: Stat::of(1).map_or(0, |stat| stat.started),
            name: String::new(),
            command: String::new(),
            gids: [0].into(),
            is_ours: false,
        };
        assert!(matches!(open(&first, &Kin::nobodys()), Err(Ended::Stayed(_))));
        assert!(matches!(end(&first), Ended::Stayed(_)));
    }
}
