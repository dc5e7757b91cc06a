//! Public keys as texts: in a list of authorized ones, in a file of its own, in the open part of a private one. And where
//! sshd looks for root's list.
//!
//! Source: sshd(8) AUTHORIZED_KEYS FILE FORMAT, sshd_config(5), PROTOCOL.key of OpenSSH, RFC 4253 section 6.6.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;

const PRIVATE_BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const PRIVATE_END: &str = "-----END OPENSSH PRIVATE KEY-----";
const PRIVATE_MAGIC: &[u8] = b"openssh-key-v1\0";
/// What sshd does without a word in its file.
const DEFAULT_FILES: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// From 1 on.
    pub(super) line: usize,
    /// The key as it goes over the wire.
    pub(super) blob: Vec<u8>,
    /// Whether it lets one command be run and no other.
    pub(super) is_limited: bool,
}

/// All keys of a list.
pub(super) fn listed(text: &str) -> Vec<Listed> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    lines
        .filter_map(|(number, line)| {
            let words = words(line);
            let place = words.windows(2).position(|pair| public(&pair[0], &pair[1]).is_some())?;
            let blob = public(&words[place], &words[place + 1])?;
            // What comes before the key are options, and names are not told apart by case.
            let is_limited =
                words[..place].iter().any(|word| word.to_lowercase().contains("command="));
            Some(Listed { line: number + 1, blob, is_limited })
        })
        .collect()
}

/// Words, of which spaces in quotes are a part.
fn words(line: &str) -> Vec<String> {
    let mut in_quotes = false;
    let parts = line.split(|letter: char| {
        in_quotes ^= letter == '"';
        !in_quotes && letter.is_whitespace()
    });
    parts.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A kind of key and the key, if they belong together.
fn public(kind: &str, key: &str) -> Option<Vec<u8>> {
    let blob = STANDARD_PAD_INDIFFERENT.decode(key).ok()?;
    let names_itself = string(&mut blob.as_slice())? == kind.as_bytes();
    names_itself.then_some(blob)
}

/// The key of a `.pub` file.
pub(super) fn public_file(text: &str) -> Option<Vec<u8>> {
    listed(text).into_iter().next().map(|key| key.blob)
}

/// What a file that is no public key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Private {
    /// It is a private key, and this its public half. (That one is never encrypted.)
    Key(Vec<u8>),
    /// It is a private key in a form that hides it.
    Hidden,
    /// It is something else.
    None,
}

/// The public half of a private key.
pub(super) fn private_file(text: &str) -> Private {
    let text = text.trim_start();
    let is_pem = text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY"); // Else a certificate, for one.
    if is_pem || text.starts_with("PuTTY-User-Key-File") {
        open_part(text).map_or(Private::Hidden, Private::Key)
    } else {
        Private::None
    }
}

fn open_part(text: &str) -> Option<Vec<u8>> {
    let (armored, _) = text.strip_prefix(PRIVATE_BEGIN)?.split_once(PRIVATE_END)?;
    let armored: String = armored.split_whitespace().collect();
    let bytes = STANDARD_PAD_INDIFFERENT.decode(armored).ok()?;
    let mut rest = bytes.strip_prefix(PRIVATE_MAGIC)?;
    for _ in ["cipher", "key derivation", "its options"] {
        string(&mut rest)?;
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    (u32::from_be_bytes(*count) == 1).then(|| string(&mut rest).map(<[u8]>::to_vec)).flatten()
}

/// A length in four bytes, and as many bytes.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (string, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(string)
}

/// What counts of sshd's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sshd {
    patterns: Vec<String>,
    /// Whether it lets root log in by no key at all.
    pub(super) refuses_root: bool,
}

impl Sshd {
    /// From its files. Sections under a condition count as if it were met.
    pub(super) fn of(texts: &[String]) -> Self {
        let (mut patterns, mut root) = (Vec::new(), Vec::new());
        for line in texts.iter().flat_map(|text| text.lines()) {
            let line = line.split('#').next().unwrap_or_default().replace(['=', '"'], " ");
            let mut words = line.split_whitespace();
            match words.next().map(str::to_lowercase).as_deref() {
                Some("authorizedkeysfile") => patterns.extend(words.map(str::to_owned)),
                Some("permitrootlogin") => root.extend(words.next().map(str::to_lowercase)),
                _ => {}
            }
        }
        let refuses_root = !root.is_empty() && root.iter().all(|said| said == "no");
        if patterns.is_empty() {
            patterns.extend(DEFAULT_FILES.map(str::to_owned));
        }
        Self { patterns, refuses_root }
    }

    /// Where root's keys are listed.
    pub(super) fn files(&self, home: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = Vec::new();
        for pattern in self.patterns.iter().filter(|pattern| *pattern != "none") {
            let home_text = home.to_string_lossy();
            // Two percent signs are one.
            let parts = pattern.split("%%").map(|part| {
                part.replace("%h", &home_text).replace("%u", "root").replace("%U", "0")
            });
            let file = home.join(parts.collect::<Vec<_>>().join("%"));
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "ssh-ed25519";

    fn prefixed(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes(), bytes].concat()
    }

    fn blob(key: u8) -> Vec<u8> {
        [prefixed(KIND.as_bytes()), prefixed(&[key; 32])].concat()
    }

    fn line(key: u8) -> String {
        format!("{KIND} {}", STANDARD_PAD_INDIFFERENT.encode(blob(key)))
    }

    fn private(key: u8) -> String {
        let head = ["aes256-ctr", "bcrypt", "salt"].map(|word| prefixed(word.as_bytes())).concat();
        let open = [PRIVATE_MAGIC, &head, &1_u32.to_be_bytes(), &prefixed(&blob(key)), b"sealed"];
        let armored = STANDARD_PAD_INDIFFERENT.encode(open.concat());
        let (first, second) = armored.split_at(70);
        format!("{PRIVATE_BEGIN}\n{first}\n{second}\n{PRIVATE_END}\n")
    }

    #[test]
    fn keys_are_found_behind_options_and_comments_are_none() {
        let text = format!(
            "# {}\n\n{} alice@there\n  from=\"a b\",no-pty {}\nCommand=\"/bin/ls \\\"x\\\"\" {}\nssh-rsa AAAA\n\
             ssh-rsa {}\n",
            line(1),
            line(2),
            line(3),
            line(4),
            line(5).trim_start_matches("ssh-ed25519 "),
        );
        let expected = [(3, 2, false), (4, 3, false), (5, 4, true)];
        let expected =
            expected.map(|(line, key, is_limited)| Listed { line, blob: blob(key), is_limited });
        assert_eq!(listed(&text), expected);
        assert_eq!(public_file(&line(7)), Some(blob(7)));
        assert_eq!(public_file("no key"), None);
    }

    #[test]
    fn a_private_key_shows_its_public_half() {
        assert_eq!(private_file(&private(9)), Private::Key(blob(9)));
        for (text, expected) in [
            ("-----BEGIN RSA PRIVATE KEY-----\nxx\n", Private::Hidden),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\n????\n-----END OPENSSH PRIVATE KEY-----",
                Private::Hidden,
            ),
            ("PuTTY-User-Key-File-3: ssh-ed25519\n", Private::Hidden),
            ("-----BEGIN CERTIFICATE-----\n", Private::None),
            ("Host a\n", Private::None),
            ("", Private::None),
        ] {
            assert_eq!(private_file(text), expected, "{text}");
        }
    }

    #[test]
    fn sshds_file_says_where_roots_list_is_and_whether_root_may_come() {
        for (text, files, refuses_root) in [
            ("", "/root/.ssh/authorized_keys /root/.ssh/authorized_keys2", false),
            (
                "#AuthorizedKeysFile x\nPermitRootLogin no\n",
                "/root/.ssh/authorized_keys /root/.ssh/authorized_keys2",
                true,
            ),
            (
                "authorizedkeysfile=/etc/ssh/%u.keys \"%h/%%k\" keys/%U",
                "/etc/ssh/root.keys /root/%k /root/keys/0",
                false,
            ),
            (
                "PermitRootLogin no\nMatch Address 127.0.0.1\n PermitRootLogin prohibit-password\n\
              AuthorizedKeysFile none\n",
                "",
                false,
            ),
        ] {
            let sshd = Sshd::of(&[text.to_owned()]);
            let found: Vec<String> = sshd
                .files(Path::new("/root"))
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            assert_eq!(
                (found.join(" ").as_str(), sshd.refuses_root),
                (files, refuses_root),
                "{text}"
            );
        }
    }
}
