//! Whether a process is there.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Whether a process of this number runs, be it somebody else's. One that has ended and that nobody has asked about
/// yet does not (proc(5): state Z or X), as far as the system tells.
pub fn is_running(pid: u32) -> bool {
    // 0 and negative numbers would mean groups of processes.
    let number = i32::try_from(pid).ok().filter(|number| *number > 0);
    number.is_some_and(|number| kill(Pid::from_raw(number), None) != Err(Errno::ESRCH))
        && !is_dead(&fs::read(format!("/proc/{pid}/stat")).unwrap_or_default())
}

/// Whether `/proc/PID/stat` says so.
fn is_dead(stat: &[u8]) -> bool {
    // The name before the state stands in parentheses, and may have any bytes in it.
    let end = stat.iter().rposition(|byte| *byte == b')');
    end.is_some_and(|end| matches!(stat[end..], [b')', b' ', b'Z' | b'X', ..]))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_has_ended_does_not_run_even_if_nobody_has_asked_for_its_exit_code() {
        assert!(is_running(std::process::id()));
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        assert!(is_running(pid));
        drop(child.stdin.take()); // Which ends it.
        let began = Instant::now();
        while cfg!(target_os = "linux") && is_running(pid) {
            assert!(began.elapsed() < Duration::from_secs(30), "it is a zombie for long");
            std::thread::yield_now();
        }
        assert!(child.wait().unwrap().success());
        for pid in [pid, 0, u32::MAX] {
            assert!(!is_running(pid), "{pid}");
        }
    }

    #[test]
    fn the_state_stands_behind_the_name_whatever_that_is() {
        for (stat, expected) in [
            ("17 (codex) S 1 17", false),
            ("17 (codex) Z 1 17", true),
            ("17 (codex) X 1 17", true),
            ("17 (a) Z b) R 1 17", false),
            ("17 (a) S) Z 1 17", true),
            ("17 (", false),
            ("17 (a)", false),
            ("", false),
        ] {
            assert_eq!(is_dead(stat.as_bytes()), expected, "{stat:?}");
        }
        assert!(is_dead(b"17 (\xff) Z 1 17"));
    }
}
