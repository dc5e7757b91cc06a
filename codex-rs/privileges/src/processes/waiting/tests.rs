use std::fs::File;
use std::io::Read;
use std::os::unix::fs::fchown;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::processes::samples::{Holder, UID, is_root};

/// `cat`, of which nobody asks for a password.
fn cat(pid: u32) -> Programs {
    let exe = fs::metadata(format!("/proc/{pid}/exe")).unwrap();
    Programs { known: vec![("cat", exe.dev(), exe.ino())] }
}

fn seen(programs: &Programs, pid: u32) -> Option<StaleProcess> {
    let found = all(programs, &Kin::nobodys(), UID, /*has_run*/ false).unwrap();
    found.into_iter().find(|process| process.pid == pid)
}

#[test]
fn the_account_comes_before_others_and_root_says_nothing() {
    for (signs, expected) in [
        (vec![], Owner::Unknown),
        (vec![0, 0], Owner::Unknown),
        (vec![0, 7], Owner::Another),
        (vec![7, 0, UID], Owner::Account),
    ] {
        assert_eq!(Owner::of(&signs, UID), expected, "{signs:?}");
    }
}

#[test]
fn a_terminal_has_a_number_and_a_path() {
    let stat = |tty: &str| format!("42 (a) Z 1) S 41 1 1 {tty} -1 0 0");
    for (tty, expected) in [("34819", Some(34_819)), ("0", None), ("-1", Some(u32::MAX))] {
        assert_eq!(terminal_number(stat(tty).as_bytes()), expected, "{tty}");
    }
    assert_eq!(terminal_number(b"42 (cat"), None);
    for (number, expected) in [
        (34_819, Some(("/dev/pts/3", (136, 3)))),
        (0x0010_8801, Some(("/dev/pts/257", (136, 257)))),
        (35_073, Some(("/dev/pts/257", (137, 1)))),
        (1_025, Some(("/dev/tty1", (4, 1)))),
        (1_088, Some(("/dev/ttyS0", (4, 64)))),
        (0x0501, None),
        (0, None),
    ] {
        let expected = expected.map(|(path, number)| (PathBuf::from(path), number));
        assert_eq!(terminal_path(number), expected, "{number:#x}");
    }
}

#[test]
fn a_login_and_a_slice_name_an_account() {
    for (text, expected) in
        [("1000", Some(1_000)), ("0\n", Some(0)), ("4294967295", None), ("", None)]
    {
        assert_eq!(login(text.as_bytes()), expected, "{text}");
    }
    for (text, expected) in [
        ("0::/user.slice/user-1000.slice/session-3.scope\n", vec![1_000]),
        ("1:name=systemd:/\n0::/user.slice/user-7.slice/user@7.service/app.slice", vec![7, 7]),
        ("0::/system.slice/user-x.slice/a-user-7.slice/user@7.service.d\n", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(slices(text), expected, "{text}");
    }
}

#[test]
fn a_process_is_the_accounts_by_the_file_that_it_says_things_to() {
    if !is_root() {
        return;
    }
    let file = tempfile::tempfile().unwrap();
    fchown(&file, Some(UID), None).unwrap();
    let mut command = Command::new("cat");
    let holder = Holder::spawn(command.stderr(file));
    let pid = holder.pid();
    let it = seen(&cat(pid), pid).unwrap();
    assert_eq!((it.name.as_str(), it.uid, it.is_ours), ("cat", 0, false));
    assert!(it.gids.is_empty());
    assert_eq!(Owner::of(&signs(pid, UID), UID), Owner::Account);
    assert_ne!(Owner::of(&signs(pid, UID + 1), UID + 1), Owner::Account);
    assert!(
        all(&cat(pid), &Kin::ours(), UID, /*has_run*/ false)
            .unwrap()
            .iter()
            .all(|it| it.pid != pid)
    );
    assert!(!is_still_waiting(&it), "it is no program that gives root");
}

#[test]
fn what_others_can_write_to_says_nothing_of_them() {
    if !is_root() {
        return;
    }
    let (own, shared) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    for (file, mode) in [(&own, 0o600), (&shared, 0o622)] {
        fchown(file, Some(UID), None).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        file.set_permissions(permissions).unwrap();
    }
    for (file, uid, expected) in [
        (&own, UID, Some(UID)),
        (&own, UID + 1, Some(UID)),
        (&shared, UID, Some(UID)),
        (&shared, UID + 1, None),
    ] {
        let mut command = Command::new("cat");
        let holder = Holder::spawn(command.stderr(file.try_clone().unwrap()));
        assert_eq!(owner_of_file(holder.pid(), 2, uid), expected, "{uid}");
    }
}

/// The shell is the program here, and what it runs is its command.
#[test]
fn a_program_that_has_run_its_command_does_not_wait_and_one_that_asks_by_another_does() {
    if !is_root() {
        return;
    }
    let asks = format!("setpriv --reuid={UID} --regid={UID} --clear-groups cat; :");
    for (words, waits) in [("cat; :", false), (asks.as_str(), true)] {
        let mut command = Command::new("sh");
        let holder = Holder::spawn(command.args(["-c", words]));
        let found = seen(&cat(holder.pid()), holder.pid());
        assert_eq!(found.is_some(), waits, "{words}");
        // Both end with the pipe that they read.
    }
}

/// Whoever forks before it becomes such a program has a child that says nothing.
#[test]
fn a_dead_child_is_no_command_that_was_run() {
    if !is_root() {
        return;
    }
    let mut inner = Command::new("cat");
    let mut inner = Holder::spawn(&mut inner);
    inner.become_zombie();
    let own = std::process::id();
    let seen = Seen {
        account: Whose::account(UID),
        programs: HashMap::from([(own, "cat")]),
        children: HashMap::from([(own, vec![inner.pid()])]),
    };
    assert!(!seen.has_run(own, 0));
    let living = Holder::spawn(&mut Command::new("cat"));
    let children = HashMap::from([(own, vec![inner.pid(), living.pid()])]);
    assert!(Seen { children, ..seen }.has_run(own, 0));
}

/// It ends with this value.
struct Asking(Child);

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_su_at_its_prompt_waits_for_the_account_that_started_it() {
    if !is_root() || tools::find("su").is_none() {
        return;
    }
    let ids = [format!("--reuid={UID}"), format!("--regid={UID}")];
    let mut command = Command::new("setpriv");
    let command = command.args(ids).args(["--clear-groups", "su", "root"]).current_dir("/");
    let command = command.env("LC_ALL", "C").stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut asking = Asking(command.spawn().unwrap());
    let mut said = [0; 9];
    let stderr = asking.0.stderr.as_mut().unwrap();
    if stderr.read_exact(&mut said).is_err() || said != *b"Password:" {
        return; // PAM asks nobody here, or for something else.
    }
    let programs = Programs::installed();
    let it = seen(&programs, asking.0.id()).unwrap();
    assert_eq!(it.name, "su");
    assert_eq!(Owner::of(&signs(it.pid, UID), UID), Owner::Account);
    assert!(is_still_waiting(&it));
}

#[test]
fn a_file_that_is_not_setuid_is_no_such_program() {
    let mut programs = Programs::default();
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("sudo")).unwrap();
    programs.add("sudo", &folder.path().join("sudo"));
    programs.add("sudo", &folder.path().join("nothing"));
    assert!(programs.known.is_empty());
}
