//! A session that was begun while pointed goes on after `unpoint`: that is what the table is kept for.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Child;

use nix::pty::{Winsize, openpty};

use super::*;

/// Codex names it in the head of what it says.
fn session_of(output: &Output) -> String {
    let said = text(&output.stderr);
    let id = said.lines().find_map(|line| line.strip_prefix("session id: "));
    id.unwrap_or_else(|| panic!("no session in {said}")).to_owned()
}

/// The arguments that go on with a session.
fn resume(session: &str, flags: &[&str]) -> Vec<String> {
    let words =
        [&["exec", "resume", "--skip-git-repo-check"][..], flags, &[session, "go on"]].concat();
    words.into_iter().map(str::to_owned).collect()
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_begun_before_unpoint_can_be_resumed_after_it() {
    if !can_run(missing()) {
        return;
    }
    let desk = Desk::start().await;
    desk.point(&[]);
    let session = session_of(&completed(desk.ours(&TURN)));
    assert_eq!(desk.counts(), (1, 0));
    desk.unpoint(&[]);

    // `codex exec` wants to be told the provider that the session was begun with.
    let chosen = resume(&session, &["-c", "model_provider=openai-proxy"]);
    for command in [desk.theirs(&words(&chosen)), desk.ours(&words(&chosen))] {
        assert_eq!(session_of(&completed(command)), session);
    }
    assert_eq!(desk.counts(), (3, 0));
    let seen = desk.upstream.seen();
    assert!(contains(&seen[2].body, b"say hi"), "the session was begun anew");
    let plain = resume(&session, &[]);
    let output = ended(desk.theirs(&words(&plain)));
    let said = text(&output.stderr);
    let why =
        "Cannot change this thread's model provider from `openai-proxy` to `former` on resume";
    assert!(!output.status.success() && said.contains(why), "{said}");

    // Without the table there is no way to it.
    desk.unpoint(&["--purge"]);
    let output = ended(desk.theirs(&words(&chosen)));
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert_eq!(desk.counts(), (3, 0));

    // Nothing is lost: pointed once more, it goes on.
    desk.point(&[]);
    assert_eq!(session_of(&completed(desk.ours(&words(&plain)))), session);
    assert_eq!(desk.counts(), (4, 0));
}

/// As `unpoint` says it: for somebody who has neither another provider nor a login, whom Codex would ask to sign in.
#[tokio::test(flavor = "multi_thread")]
async fn without_another_provider_and_without_a_login_it_goes_on_as_unpoint_says() {
    if !can_run(missing()) {
        return;
    }
    let desk = Desk::start().await;
    fs::write(desk.config(), desk.trust()).unwrap();
    desk.point(&[]);
    let session = session_of(&completed(desk.ours(&TURN)));
    let told = desk.unpoint(&[]);
    let (wish, chosen) = ("CODEX_PROXY=1 codex resume ID", "-c model_provider=openai-proxy");
    assert!(told.contains(wish) && told.contains(chosen), "{told}");
    assert!(told.ends_with("\nnow: Codex uses \"openai\", its own default\n"), "{told}");

    let through_the_proxy = |arguments: &[&str]| {
        let mut command = desk.ours(arguments);
        command
            .env("CODEX_PROXY", "1")
            .env("CODEX_PROXY_SERVER_INFO", desk.home().join("info.json"));
        command
    };
    let flags: Vec<&str> = chosen.split(' ').collect();
    let by_flag = completed(desk.ours(&words(&resume(&session, &flags))));
    let by_wish = completed(through_the_proxy(&words(&resume(&session, &[]))));
    for output in [by_flag, by_wish] {
        assert_eq!(session_of(&output), session);
    }
    assert_eq!(desk.counts(), (3, 0));
    assert!(desk.upstream.seen().iter().all(|seen| contains(&seen.body, b"say hi")));

    let codex = through_the_proxy(&["--no-daemon", "resume", &session, "go on"]);
    let terminal = Terminal::start(&codex);
    it_goes_on(&desk, 3).await;
    drop(terminal);
}

/// Waits until, after so many requests, one has come that goes on with the session.
async fn it_goes_on(desk: &Desk, after: usize) {
    let goes_on = || {
        let seen = desk.upstream.seen();
        seen.iter().skip(after).any(|seen| contains(&seen.body, b"say hi"))
    };
    // What has been answered has been read to its end.
    let mut answered = u64::try_from(after).unwrap();
    while !goes_on() {
        answered = until(&desk.upstream, move |counts| counts.answered > answered).await.answered;
    }
}

/// A Codex in a terminal. Dropped, it is killed.
struct Terminal(Child);

impl Terminal {
    fn start(codex: &Command) -> Self {
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let stream = || Stdio::from(pty.slave.try_clone().unwrap());
        // A session of its own whose terminal this is.
        let child = Command::new("setsid")
            .arg("-c")
            .arg(codex.get_program())
            .args(codex.get_args())
            .env_clear()
            .envs(codex.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("TERM", "xterm-256color")
            .current_dir(codex.get_current_dir().unwrap())
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        drop(pty.slave);
        let master = File::from(pty.master);
        std::thread::spawn(move || answer(master));
        Self(child)
    }
}

/// What a terminal tells about itself when it is asked: where its cursor is, and what it is.
fn answer(mut master: File) {
    let mut chunk = [0; 65_536];
    // EIO once nobody has the other end (pty(7)).
    while let Ok(count @ 1..) = master.read(&mut chunk) {
        for (question, answer) in [("\x1b[6n", "\x1b[1;1R"), ("\x1b[c", "\x1b[?62;c")] {
            if contains(&chunk[..count], question.as_bytes()) {
                let _ = master.write_all(answer.as_bytes()); // It may have gone.
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// In a terminal Codex uses the session's own provider, whatever the configuration says by now.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_terminal_it_goes_on_by_itself() {
    if !can_run(missing()) {
        return;
    }
    let desk = Desk::start().await;
    desk.point(&[]);
    let session = session_of(&completed(desk.ours(&TURN)));
    desk.unpoint(&[]);
    // Without the server in the background, which would outlive the test.
    let codex = desk.ours(&["--no-daemon", "resume", &session, "go on"]);
    let terminal = Terminal::start(&codex);
    it_goes_on(&desk, 1).await;
    drop(terminal);
    assert_eq!(desk.former.counts().requests, 0);
}
