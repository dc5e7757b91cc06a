//! Closing a connection whose sender may have left something in it that takes its time to close.
//!
//! What lies unread in it goes with it, descriptors too, and a socket among them may linger (SO_LINGER, socket(7)) for as long
//! as its sender likes. But Linux lets nothing linger for a thread that is ending, and what a thread has to itself is
//! closed at its end: so a thread takes all descriptors along, in a table of its own (unshare(2), CLONE_FILES), the connection
//! is closed here, which is not the last close any more, and then that thread ends.

/// Closes it. Where a thread can't have descriptors of its own (a sandbox may forbid it), that may take its time.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn let_go<T>(connection: T) {
    use std::sync::mpsc::channel;
    use std::thread;

    use nix::sched::{CloneFlags, unshare};

    let (has_them, is_ready) = channel();
    let (is_closed, may_end) = channel::<()>();
    let last = move || {
        let _ = has_them.send(unshare(CloneFlags::CLONE_FILES));
        let _ = may_end.recv(); // Nothing is ever sent.
    };
    if thread::Builder::new().name("letting go".to_owned()).spawn(last).is_ok() {
        let _ = is_ready.recv();
    }
    drop(connection);
    drop(is_closed);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn let_go<T>(connection: T) {
    drop(connection);
}
