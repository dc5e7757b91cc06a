//! A view of the system that only we have, in which sudo can be tried: its real rules and its real program, but who asks
//! is never asked for a password, and nothing that is changed here is seen by anybody else.
//!
//! It is a mount namespace of one thread (unshare(2), mount_namespaces(7)), which goes with the thread. In it the folder
//! with sudo's rules is a copy in memory, PAM's files for sudo are our own, and tickets and log lines go nowhere.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use codex_config::regular::read_regular;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use thiserror::Error;

use super::installed::Sudo;

/// PAM's services that sudo asks (sudo(8), `-i` has one of its own).
pub(crate) const SERVICES: [&str; 2] = ["sudo", "sudo-i"];
const PAM_FOLDER: &str = "/etc/pam.d";
const FILE_LIMIT_BYTES: u64 = 1024 * 1024;

/// Why there is no such view.
#[derive(Debug, Error)]
pub enum ViewError {
    /// The kernel gives none.
    #[error("no private view of the system can be had ({step})")]
    Refused {
        /// What was refused.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file of it can't be made.
    #[error("{} can't be prepared in a private view of the system", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What sudo's PAM files say in the view.
pub(crate) enum Pam<'p> {
    /// Whoever asks is let in.
    Open,
    /// Whoever asks has given the right password; whether the account may go on is said by these files, one for each of
    /// [`SERVICES`] (`None`: there is no such file).
    Account(&'p [Option<Vec<u8>>; 2]),
}

/// A view, within the thread that has it.
pub(crate) struct View {
    folder: PathBuf,
    /// Which of [`SERVICES`] have a file.
    has_file: [bool; 2],
}

/// Does this with a view.
pub(crate) fn with_view<T: Send>(
    sudo: &Sudo,
    folder: &Path,
    act: impl FnOnce(&View) -> Result<T, ViewError> + Send,
) -> Result<T, ViewError> {
    let within = || View::open(sudo, folder).and_then(|view| act(&view));
    thread::scope(|scope| match scope.spawn(within).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// What PAM's files for sudo really say.
pub(crate) fn pam_files() -> [Option<Vec<u8>>; 2] {
    SERVICES.map(|service| read_regular(&pam_file(service), FILE_LIMIT_BYTES).ok().flatten())
}

pub(crate) fn pam_file(service: &str) -> PathBuf {
    Path::new(PAM_FOLDER).join(service)
}

impl View {
    fn open(sudo: &Sudo, folder: &Path) -> Result<Self, ViewError> {
        let refused =
            |step| move |errno: nix::Error| ViewError::Refused { step, source: errno.into() };
        unshare(CloneFlags::CLONE_NEWNS).map_err(refused("unshare"))?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        let none: Option<&str> = None;
        mount(none, "/", none, private, none).map_err(refused("mount --make-rprivate"))?;
        let entries = Entry::all(folder)
            .map_err(|source| ViewError::File { path: folder.to_owned(), source })?;
        let of_folder = fs::metadata(folder)
            .map_err(|source| ViewError::File { path: folder.to_owned(), source })?;
        let mode = format!("mode={:o}", of_folder.mode() & 0o7777);
        in_memory(folder, &mode)?;
        let view = Self {
            folder: folder.to_owned(),
            has_file: SERVICES.map(|service| pam_file(service).is_file()),
        };
        for entry in &entries {
            view.at(&entry.name, |path| entry.make(path))?;
        }
        for (service, _) in SERVICES.iter().zip(view.has_file).filter(|(_, has_file)| *has_file) {
            view.at(hidden(service).as_ref(), |path| put(path, b"", 0o644))?;
            view.cover(&pam_file(service), hidden(service).as_ref())?;
        }
        // Without this folder sudo has not been used yet, and `-k` leaves no ticket.
        if let Some(tickets) = sudo.tickets.parent().filter(|folder| folder.is_dir()) {
            in_memory(tickets, "mode=711")?;
        }
        if let Ok(log) = fs::canonicalize("/dev/log") {
            view.at(".log".as_ref(), |path| put(path, b"", 0o600))?;
            view.cover(&log, ".log".as_ref())?;
        }
        Ok(view)
    }

    /// Gives a file of the folder this content, or takes it away.
    pub(crate) fn rules(&self, name: &str, text: Option<&str>) -> Result<(), ViewError> {
        self.at(name.as_ref(), |path| match text {
            Some(text) => put(path, text.as_bytes(), 0o440),
            None => fs::remove_file(path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        })
    }

    /// What PAM says from here on.
    pub(crate) fn pam(&self, pam: &Pam<'_>) -> Result<(), ViewError> {
        for (number, service) in SERVICES.iter().enumerate() {
            let text = match pam {
                Pam::Open => open_to_all(),
                Pam::Account(files) => {
                    let Some(file) = &files[number] else { continue };
                    account_alone(file, |name| {
                        read_regular(&pam_file(name), FILE_LIMIT_BYTES).ok().flatten()
                    })
                }
            };
            if self.has_file[number] {
                // In place: it is mounted where PAM looks.
                self.at(hidden(service).as_ref(), |path| fs::write(path, &text))?;
            }
        }
        Ok(())
    }

    fn at(
        &self,
        name: &std::ffi::OsStr,
        act: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), ViewError> {
        let path = self.folder.join(name);
        act(&path).map_err(|source| ViewError::File { path, source })
    }

    /// Mounts a file of ours over another.
    fn cover(&self, place: &Path, name: &std::ffi::OsStr) -> Result<(), ViewError> {
        let none: Option<&str> = None;
        mount(Some(&self.folder.join(name)), place, none, MsFlags::MS_BIND, none)
            .map_err(|errno| ViewError::File { path: place.to_owned(), source: errno.into() })
    }
}

/// With a leading dot, so that sudo passes it by (sudoers(5)).
fn hidden(service: &str) -> String {
    format!(".pam-{service}")
}

fn in_memory(folder: &Path, options: &str) -> Result<(), ViewError> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), folder, Some("tmpfs"), flags, Some(options))
        .map_err(|errno| ViewError::File { path: folder.to_owned(), source: errno.into() })
}

fn put(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = File::create_new(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)
}

/// A file of the folder with rules.
struct Entry {
    name: OsString,
    what: What,
}

enum What {
    Link(PathBuf),
    File { content: Vec<u8>, mode: u32, uid: u32, gid: u32 },
}

impl Entry {
    /// Folders and what is stranger are none of sudo's files.
    fn all(folder: &Path) -> io::Result<Vec<Self>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, found) = (entry.path(), entry.metadata()?);
            let what = if found.is_symlink() {
                What::Link(fs::read_link(path)?)
            } else if found.is_file() {
                let content = read_regular(&path, FILE_LIMIT_BYTES)?.unwrap_or_default();
                let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
                What::File { content, mode, uid, gid }
            } else {
                continue;
            };
            entries.push(Self { name: entry.file_name(), what });
        }
        Ok(entries)
    }

    fn make(&self, path: &Path) -> io::Result<()> {
        match &self.what {
            What::Link(target) => symlink(target, path),
            What::File { content, mode, uid, gid } => {
                put(path, content, *mode)?;
                chown(path, Some(*uid), Some(*gid))
            }
        }
    }
}

fn open_to_all() -> Vec<u8> {
    ["auth", "account", "session", "password"]
        .map(|what| format!("{what} required pam_permit.so\n"))
        .concat()
        .into_bytes()
}

/// A file with its account lines alone: everything else lets everybody through.
fn account_alone(file: &[u8], included: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut text = "auth sufficient pam_permit.so\nsession required pam_permit.so\n".to_owned();
    for line in String::from_utf8_lossy(file).lines() {
        let mut words = line.split_whitespace();
        let is_kept = match words.next().map(|word| word.trim_start_matches('-')) {
            Some("account") => true,
            Some("@include") => {
                words.next().and_then(&included).is_some_and(|file| is_about_accounts(&file))
            }
            _ => false,
        };
        if is_kept {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.into_bytes()
}

fn is_about_accounts(file: &[u8]) -> bool {
    let text = String::from_utf8_lossy(file);
    let mut first_words = text.lines().filter_map(|line| line.split_whitespace().next());
    first_words.any(|word| matches!(word.trim_start_matches('-'), "account" | "@include"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_pam_file_only_what_is_said_of_accounts_is_left() {
        let file = b"#%PAM-1.0\n\nsession required pam_limits.so\n@include common-auth\n\
            account requisite pam_succeed_if.so quiet uid ne 1000\n@include common-account\n\
            -account optional pam_x.so\n@include gone\nauth required pam_deny.so";
        let included = |name: &str| match name {
            "common-auth" => Some(b"auth required pam_unix.so\n".to_vec()),
            "common-account" => Some(b"# x\naccount required pam_unix.so\n".to_vec()),
            _ => None,
        };
        let expected = "auth sufficient pam_permit.so\nsession required pam_permit.so\n\
            account requisite pam_succeed_if.so quiet uid ne 1000\n@include common-account\n\
            -account optional pam_x.so\n";
        let text = account_alone(file, included);
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
