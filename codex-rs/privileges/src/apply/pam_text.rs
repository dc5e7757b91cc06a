//! The texts of both locks: what PAM reads, and sudo's rule.
//!
//! Pure: bytes in, bytes out. What others wrote stays as it is, byte for byte.
//!
//! Source: pam.conf(5), pam_succeed_if(8), sudoers(5).

use crate::account::Account;
use crate::journal::Journal;

/// What an account's line begins with, and ends with the uid.
const LINE: &str = "account requisite pam_succeed_if.so quiet uid ne ";

/// sudo's last rule for an account.
pub(crate) fn drop_in_text(account: &Account) -> String {
    let Account { name, uid, .. } = account;
    // Any other letter could end the comment, and what follows would be a rule.
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    let who = if !name.is_empty() && name.chars().all(is_plain) {
        format!("{name} (uid {uid})")
    } else {
        format!("uid {uid}")
    };
    // A space after the `#` of the comment: `#` and a number would be an account, and `#include` a file.
    format!(
        "# {who} gave sudo up. Put here by `codex proxy relinquish-sudo`; {} says what was done.\n\
         #{uid} ALL=(ALL:ALL) !ALL\n",
        Journal::path(*uid).display()
    )
}

/// The same file with an account locked out by its first line that means anything. One that has that already stays as it is.
///
/// Our lines end with a line feed alone, also where the others end otherwise: PAM would take the rest for a part of the
/// number. And a comment always comes before our line, so that it can't be the rest of somebody's comment.
pub(crate) fn lock(text: &[u8], uid: u32) -> Vec<u8> {
    let place = place(text);
    if find(&text[..place], uid).is_some() {
        return text.to_vec();
    }
    let lines = format!("{}\n{}\n", comment(uid), line(uid));
    [&text[..place], lines.as_bytes(), &text[place..]].concat()
}

/// The same file without what [`lock`] put there.
pub(crate) fn unlock(text: &[u8], uid: u32) -> Vec<u8> {
    match find(text, uid) {
        Some((from, to)) => [&text[..from], &text[to..]].concat(),
        None => text.to_vec(),
    }
}

fn comment(uid: u32) -> String {
    format!("# uid {uid} gave sudo up (codex proxy relinquish-sudo)")
}

fn line(uid: u32) -> String {
    format!("{LINE}{uid}")
}

/// What removes both lines again, as sed(1) takes it.
pub(crate) fn sed_words(uid: u32) -> [String; 4] {
    let delete = |line: String| format!("/^{}$/d", line.replace('.', r"\."));
    ["-e".to_owned(), delete(comment(uid)), "-e".to_owned(), delete(line(uid))]
}

/// Where a new line of ours belongs: after those of ours, before the first other one that means anything. In a text
/// without any, at its end; but what has no line feed at its end is not added to.
fn place(text: &[u8]) -> usize {
    let mut place = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if !line.ends_with(b"\n") || !(is_without_meaning(line) || is_ours(line)) {
            break;
        }
        place += line.len();
    }
    end_of_ours(&text[..place]).unwrap_or(place)
}

/// Behind the last line of ours.
fn end_of_ours(text: &[u8]) -> Option<usize> {
    let (mut at, mut end) = (0, None);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if is_ours(line) {
            end = Some(at);
        }
    }
    end
}

fn is_without_meaning(line: &[u8]) -> bool {
    matches!(line.trim_ascii(), [] | [b'#', ..])
}

/// Of whatever account.
fn is_ours(line: &[u8]) -> bool {
    let number = line.strip_prefix(LINE.as_bytes()).and_then(|rest| rest.strip_suffix(b"\n"));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// From the comment, if it is there, to the end of an account's line.
fn find(text: &[u8], uid: u32) -> Option<(usize, usize)> {
    let (comment, ours) = (format!("{}\n", comment(uid)), format!("{}\n", line(uid)));
    let (mut at, mut before) = (0, None);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let end = at + line.len();
        if line == ours.as_bytes() {
            return Some((before.unwrap_or(at), end));
        }
        before = (line == comment.as_bytes()).then_some(at);
        at = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "#%PAM-1.0\n\n# Set up user limits.\nsession    required   pam_limits.so\n\n\
                          @include common-auth\n@include common-account\n";
    const LINES: &str = "# uid 1000 gave sudo up (codex proxy relinquish-sudo)\n\
                         account requisite pam_succeed_if.so quiet uid ne 1000\n";
    const OTHERS: &str = "# uid 1001 gave sudo up (codex proxy relinquish-sudo)\n\
                          account requisite pam_succeed_if.so quiet uid ne 1001\n";

    fn locked(text: &str, uid: u32) -> String {
        String::from_utf8(lock(text.as_bytes(), uid)).unwrap()
    }

    fn unlocked(text: &str, uid: u32) -> String {
        String::from_utf8(unlock(text.as_bytes(), uid)).unwrap()
    }

    /// What comes before our lines, and what comes after them.
    const TEXTS: [(&str, &str); 14] = [
        ("", ""),
        ("", "@include common-account\n"),
        ("", "@include common-account"),
        ("#%PAM-1.0\n", "auth required pam_unix.so\n# more\n\n"),
        ("#%PAM-1.0\n", "auth required pam_unix.so"),
        ("#%PAM-1.0\n\n  \t\n\t # indented\n", "\tauth required pam_unix.so\n"),
        ("#%PAM-1.0\r\n\r\n", "auth required pam_unix.so\r\n"),
        ("#%PAM-1.0\n", ""),
        ("\n\n", ""),
        ("", "# no line feed"),
        ("# one\n", "# two, and no line feed"),
        ("", " "),
        ("# a comment that seems to go on \\\n", "auth \\\n required pam_unix.so\n"),
        ("", "account required pam_x.so # account requisite pam_succeed_if.so quiet uid ne 1000\n"),
    ];

    #[test]
    fn the_first_line_that_means_anything_is_ours_and_all_else_stays() {
        for (before, after) in TEXTS {
            let text = format!("{before}{after}");
            assert_eq!(locked(&text, 1_000), format!("{before}{LINES}{after}"), "{text:?}");
        }
        assert!(locked(DEBIAN, 1_000).contains(&format!("{LINES}session")));
    }

    #[test]
    fn locking_twice_is_locking_once_and_unlocking_gives_the_same_bytes_back() {
        for text in TEXTS.map(|(before, after)| format!("{before}{after}")) {
            let once = locked(&text, 1_000);
            assert_eq!(locked(&once, 1_000), once, "{text:?}");
            assert_eq!(unlocked(&once, 1_000), text);
            assert_eq!(unlocked(&text, 1_000), text, "nothing of ours is in it");
            assert_eq!(unlocked(&once, 100), once, "another account's lines stay");
        }
    }

    #[test]
    fn two_accounts_have_lines_side_by_side_and_go_in_any_order() {
        for (before, after) in TEXTS {
            let text = format!("{before}{after}");
            let both = locked(&locked(&text, 1_000), 1_001);
            assert_eq!(both, format!("{before}{LINES}{OTHERS}{after}"));
            assert_eq!(locked(&both, 1_000), both);
            assert_eq!(unlocked(&both, 1_000), locked(&text, 1_001));
            assert_eq!(unlocked(&both, 1_001), locked(&text, 1_000));
        }
    }

    /// One that comes after somebody's `account sufficient` does nothing.
    #[test]
    fn a_line_of_ours_further_down_is_none() {
        for text in [
            format!("account sufficient pam_permit.so\n{LINES}"),
            format!("{OTHERS}account sufficient pam_permit.so\n{LINES}"),
        ] {
            let again = locked(&text, 1_000);
            assert_eq!(again.matches(LINES).count(), 2, "{again}");
            assert!(again.find(LINES) < again.find("sufficient"), "{again}");
            assert_eq!(unlocked(&again, 1_000), text);
        }
    }

    #[test]
    fn only_a_whole_line_is_ours() {
        let (comment, ours) = LINES.split_once('\n').unwrap();
        let (ours, longer) = (ours.trim_end(), format!("{}0\n", ours.trim_end()));
        for text in [
            format!("{ours} debug\n"),
            format!(" {ours}\n"),
            format!("{ours}\r\n"),
            format!("#{ours}\n"),
            longer,
            format!("{comment}\n"),
        ] {
            assert_eq!(unlocked(&text, 1_000), text);
            assert_ne!(locked(&text, 1_000), text);
        }
        let without_comment = format!("{ours}\n{DEBIAN}");
        assert_eq!(locked(&without_comment, 1_000), without_comment);
        assert_eq!(unlocked(&without_comment, 1_000), DEBIAN);
    }

    #[test]
    fn bytes_that_are_no_text_stay() {
        let text = b"# \xff\xfe\n\xff auth\0\n".to_vec();
        let locked = lock(&text, 7);
        assert_eq!(&locked[..5], b"# \xff\xfe\n");
        assert_eq!(unlock(&locked, 7), text);
    }

    #[test]
    fn a_name_is_in_the_rules_comment_only_if_it_can_be_nothing_but_a_name() {
        let text = |name: &str| {
            let (home, shell) = ("/".into(), "/bin/sh".into());
            let name = name.to_owned();
            drop_in_text(&Account { name, uid: 1_000, gid: 7, home, shell, groups: Vec::new() })
        };
        let end = " gave sudo up. Put here by `codex proxy relinquish-sudo`; \
                   /var/lib/codex-responses-api-proxy/relinquished/1000.json says what was done.\n\
                   #1000 ALL=(ALL:ALL) !ALL\n";
        for name in ["alice", "a.b-c_D9", "include", "1000"] {
            assert_eq!(text(name), format!("# {name} (uid 1000){end}"));
        }
        for name in ["a\n%sudo ALL=(ALL) ALL\n", "a\\", "a b", "é", "%sudo", "a\r", ""] {
            assert_eq!(text(name), format!("# uid 1000{end}"), "{name:?}");
        }
    }

    #[test]
    fn an_administrator_can_remove_the_lines_with_sed() {
        let [_, comment, _, line] = sed_words(1_000);
        assert_eq!(comment, "/^# uid 1000 gave sudo up (codex proxy relinquish-sudo)$/d");
        assert_eq!(line, r"/^account requisite pam_succeed_if\.so quiet uid ne 1000$/d");
    }
}
