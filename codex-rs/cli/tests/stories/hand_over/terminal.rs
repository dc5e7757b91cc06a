//! In a terminal: the public Codex CLI has it, and ^C reaches it.

use std::fs::File;
use std::io::Read;
use std::sync::mpsc::{Receiver, channel};

use nix::pty::openpty;

use super::*;

/// What a terminal shows, as it comes.
fn watch(mut master: File) -> Receiver<Vec<u8>> {
    let (sender, shown) = channel();
    std::thread::spawn(move || {
        let mut chunk = [0; 512];
        // EIO once nobody has the other end (pty(7)).
        while let Ok(count @ 1..) = master.read(&mut chunk) {
            if sender.send(chunk[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    shown
}

fn until(shown: &Receiver<Vec<u8>>, so_far: &mut Vec<u8>, part: &str) {
    while !contains(so_far, part.as_bytes()) {
        let Ok(more) = shown.recv_timeout(LIMIT) else {
            panic!("the terminal shows no {part:?} but {:?}", text(so_far));
        };
        so_far.extend(more);
    }
}

#[test]
fn it_has_the_terminal_and_ctrl_c_reaches_it() {
    let place = Place::empty();
    let script = "#!/bin/sh\n\
        trap 'echo caught; exit 5' INT\n\
        [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo a terminal\n\
        while :; do read line && echo \"read <$line>\"; done\n";
    place.script("theirs/codex", script);
    let pty = openpty(None, None).unwrap();
    let stream = || Stdio::from(pty.slave.try_clone().unwrap());
    let codex = place.codex();
    // A session of its own whose terminal this is; and whoever runs the tests may ignore SIGINT.
    let mut child = Command::new("env")
        .args(["--default-signal=INT,HUP", "setsid", "-c"])
        .arg(codex.get_program())
        .arg("exec")
        .env_clear()
        .envs(codex.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PATH", {
            let own = std::env::var_os("PATH").unwrap_or_default();
            let tests = [place.at("ours"), place.at("theirs")];
            std::env::join_paths(tests.into_iter().chain(std::env::split_paths(&own))).unwrap()
        })
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap();
    drop(pty.slave);
    let mut master = File::from(pty.master);
    let shown = watch(master.try_clone().unwrap());
    let mut so_far = Vec::new();
    until(&shown, &mut so_far, "a terminal");
    master.write_all(b"words\n").unwrap();
    until(&shown, &mut so_far, "read <words>");
    master.write_all(b"\x03").unwrap();
    until(&shown, &mut so_far, "caught");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}
