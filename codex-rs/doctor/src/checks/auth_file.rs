//! A key in `auth.json`, where `codex login --with-api-key` puts it for every program of this account to read.
//!
//! A ChatGPT login in it is Codex's own business. As measured with Codex 0.169.0, the file has mode 0600, a key is
//! the member `OPENAI_API_KEY`, and `codex logout` removes the file. A keyring of the system's is not looked at.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use codex_config::regular::read_regular;
use serde_json::Value;

use crate::check::blocking;
use crate::finding::Finding;
use crate::host::Host;
use crate::listing::quoted;
use crate::looks_like_key::{Form, lines_with_keys};

const ID: &str = "auth_file";
/// Tokens of a login have a few thousand bytes.
const LIMIT_BYTES: u64 = 1024 * 1024;
/// Group and others (inode(7)).
const OPEN_TO_OTHERS: u32 = 0o077;

/// What lies there. Nothing of what it says.
#[derive(Debug, PartialEq, Eq)]
enum Login {
    Nothing,
    Unreadable { because: String },
    NoJson { line: usize },
    Key,
    Tokens,
    Neither,
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    blocking(move || {
        let Ok(home) = &host.codex_home else { return Vec::new() };
        let path = home.auth_file();
        let mode = fs::metadata(&path).map_or(0, |metadata| metadata.permissions().mode());
        judge(&path, &read(&path), mode & 0o7777)
    })
    .await
}

fn read(path: &Path) -> Login {
    match read_regular(path, LIMIT_BYTES) {
        Ok(None) => Login::Nothing,
        Ok(Some(text)) => login_of(&text),
        Err(error) => Login::Unreadable { because: error.to_string() },
    }
}

fn login_of(text: &[u8]) -> Login {
    let parsed = serde_json::from_slice::<Value>(text);
    let is_said = |name: &str| match parsed.as_ref().ok().and_then(|value| value.get(name)) {
        None | Some(Value::Null) => false,
        Some(Value::String(said)) => !said.is_empty(),
        Some(_) => true,
    };
    // What it is called and whether it is JSON matters to Codex, not to whoever reads it.
    if is_said("OPENAI_API_KEY") || lines_with_keys(text, Form::Text).next().is_some() {
        return Login::Key;
    }
    match &parsed {
        Err(error) => Login::NoJson { line: error.line() },
        Ok(_) if is_said("tokens") => Login::Tokens,
        Ok(_) => Login::Neither,
    }
}

fn judge(path: &Path, login: &Login, mode: u32) -> Vec<Finding> {
    let (place, word) = (path.display(), quoted(path));
    let finding = match login {
        Login::Nothing => {
            Finding::pass(ID, format!("there is no {place}; a keyring was not looked at"))
        }
        Login::Unreadable { because } => {
            let evidence = format!("{place} can't be read: {because}");
            Finding::warn(ID, evidence, format!("see what it is: ls -l {word}"))
        }
        Login::NoJson { line } => Finding::warn(
            ID,
            format!("{place} is no JSON from line {line} on, so Codex can't read it either"),
            "codex logout, and then codex login if you use Codex without the proxy too",
        ),
        Login::Key => Finding::fail(
            ID,
            format!("{place} has an API key in it, which whatever runs as this account can read"),
            "codex logout takes it out, and through the proxy Codex needs none; replace the key if an agent has run here",
        ),
        Login::Tokens => {
            Finding::pass(ID, format!("{place} has a ChatGPT login in it, and no API key"))
        }
        Login::Neither => Finding::pass(ID, format!("{place} has no API key in it")),
    };
    let mut findings = vec![finding];
    let is_open = mode & OPEN_TO_OTHERS != 0 && matches!(login, Login::Key | Login::Tokens);
    if is_open {
        let evidence = format!("the mode of {place}, {mode:04o}, lets other accounts in");
        findings.push(Finding::warn(ID, evidence, format!("chmod 600 {word}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;

    const KEY: &str = "sk-proj-0123456789abcdef";

    #[test]
    fn what_it_holds_is_known_without_being_told() {
        let key = format!("{{\"auth_mode\": \"apikey\",\n \"OPENAI_API_KEY\": \"{KEY}\"}}");
        let elsewhere = format!("{{\"OPENAI_API_KEY\": null, \"other\": [\"{KEY}\"]}}");
        let broken = format!("{{\"OPENAI_API_KEY\": \"{KEY}\"");
        for (text, expected) in [
            (&*key, Login::Key),
            (&*elsewhere, Login::Key),
            (&*broken, Login::Key),
            (r#"{"OPENAI_API_KEY": "short"}"#, Login::Key),
            (r#"{"OPENAI_API_KEY": null, "tokens": {"access_token": "ey.a.b"}}"#, Login::Tokens),
            (r#"{"OPENAI_API_KEY": "", "tokens": null}"#, Login::Neither),
            ("{}", Login::Neither),
            ("[]", Login::Neither),
            ("{\n\"a\": 1,\n", Login::NoJson { line: 3 }),
            ("", Login::NoJson { line: 1 }),
        ] {
            assert_eq!(login_of(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn only_what_is_worth_it_has_to_be_closed() {
        for (login, mode, expected) in [
            (Login::Nothing, 0, vec![Grade::Pass]),
            (Login::Neither, 0o644, vec![Grade::Pass]),
            (Login::Tokens, 0o600, vec![Grade::Pass]),
            (Login::Tokens, 0o640, vec![Grade::Pass, Grade::Warn]),
            (Login::Key, 0o600, vec![Grade::Fail]),
            (Login::Key, 0o604, vec![Grade::Fail, Grade::Warn]),
            (Login::NoJson { line: 1 }, 0o600, vec![Grade::Warn]),
            (Login::Unreadable { because: "so".to_owned() }, 0, vec![Grade::Warn]),
        ] {
            let findings = judge(Path::new("/x/auth.json"), &login, mode);
            let grades: Vec<Grade> = findings.iter().map(|finding| finding.grade).collect();
            assert_eq!(grades, expected, "{login:?} {mode:o}");
        }
    }

    #[tokio::test]
    async fn the_file_is_looked_at_where_codex_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".codex/auth.json");
        let look = || look(Arc::new(Host::for_tests(folder.path())));
        let place = path.display();
        let nothing = format!("there is no {place}; a keyring was not looked at");
        assert_eq!(look().await, [Finding::pass(ID, nothing)]);
        fs::create_dir(folder.path().join(".codex")).unwrap();
        fs::write(&path, format!("{{\"OPENAI_API_KEY\": \"{KEY}\"}}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let findings = look().await;
        let evidence: Vec<&str> = findings.iter().map(|finding| &*finding.evidence).collect();
        let expected = [
            format!("{place} has an API key in it, which whatever runs as this account can read"),
            format!("the mode of {place}, 0644, lets other accounts in"),
        ];
        assert_eq!(evidence, expected);
        assert_eq!(findings[1].remedy, Some(format!("chmod 600 {place}")));
    }
}
