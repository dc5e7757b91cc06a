//! System calls that a proxy is not to have, as in a container or on an older kernel.

use std::collections::BTreeMap;

use nix::libc::{ENOSYS, EPERM, SYS_memfd_secret, SYS_mlock, SYS_mlock2};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// System calls that are answered with an error, and with which.
pub(crate) type Denied = (&'static [i64], i32);

/// A kernel from before memfd_secret(2).
pub(crate) const NO_SECRET_MEMORY: Denied = (&[SYS_memfd_secret], ENOSYS);
/// An account that may lock nothing.
pub(crate) const NO_LOCKS: Denied = (&[SYS_mlock, SYS_mlock2], EPERM);

/// Runs this on a thread of its own and of what that starts, to which these system calls are denied.
pub(crate) fn denied<T: Send>(calls: &[Denied], run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            calls.iter().for_each(deny);
            run()
        });
        thread.join().unwrap()
    })
}

fn deny((calls, error): &Denied) {
    let rules: BTreeMap<i64, Vec<_>> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let action = SeccompAction::Errno(u32::try_from(*error).unwrap());
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    apply_filter(&program).unwrap();
}
