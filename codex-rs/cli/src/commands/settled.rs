//! Is it really so? What a run of Codex would use now, and whether it would get there. Nothing is sent.

use std::env;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use codex_config::{
    CodexHome, Effective, Layers, Mend, PROVIDER, Route, SYSTEM_FOLDER, Where, effective,
    shell_word,
};
use codex_peer_identity::listener;
use codex_proxy_client::serves_this_account;

use super::as_user::Whose;
use super::host::Host;
use super::target::Target;

/// Below this port only root may listen (ip(7)).
const UNPRIVILEGED_FROM: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
/// From here the kernel chooses where none was asked for (ip(7)).
const CHOSEN_FROM: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Whether a run of Codex uses the proxy, as far as its configuration goes.
    pub(crate) has_effect: bool,
    pub(crate) warnings: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// What a run of this account's Codex would use.
pub(crate) fn in_effect(home: &CodexHome, profile: bool) -> Effective {
    effective(&Layers {
        home,
        system_folder: Path::new(SYSTEM_FOLDER),
        profile: profile.then_some(PROVIDER),
        overrides: &[],
    })
}

/// Looks at all of it, after a pointing, and as the account whose Codex it is.
pub(crate) async fn settle(
    target: &Target,
    whose: &Whose,
    home: &CodexHome,
    effective: &Effective,
) -> Settled {
    let mut settled = Settled { has_effect: true, ..Settled::default() };
    settled.provider(effective, &target.base_url());
    settled.route(whose, home);
    settled.listener(target);
    if target.is_known() {
        settled.service(target, service(target, whose.uid()).await, whose);
    } else {
        settled.unknown(target);
    }
    settled.future(target, unprivileged_from(), chosen_by_kernel().as_ref());
    settled
}

impl Settled {
    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    fn provider(&mut self, effective: &Effective, base_url: &str) {
        if !effective.is_ours() {
            self.has_effect = false;
            let (layer, provider) = (&effective.decided_by, &effective.provider);
            self.warn(format!("{layer} decides otherwise: Codex will use {provider:?}"));
        } else if effective.base_url.as_deref() != Some(base_url) {
            self.has_effect = false;
            let url = effective.shown_address().unwrap_or_else(|| "no address".to_owned());
            let layer =
                effective.named_by().map_or_else(|| "a layer".to_owned(), ToString::to_string);
            self.warn(format!("{layer} has another address: Codex will use {url}"));
        }
        for problem in &effective.problems {
            // With a layer that is wrong Codex does not start; one that only we can't read it may take.
            self.has_effect &= problem.is_unread;
            self.warn(format!("{}: {}", problem.file.display(), problem.what));
        }
    }

    /// Whether what is meant for 127.0.0.1 would go to an HTTP proxy.
    fn route(&mut self, whose: &Whose, home: &CodexHome) {
        // Root's environment says nothing of anybody else's.
        let is_ours = whose.has_our_environment();
        let variable = |name: &str| is_ours.then(|| env::var(name).ok()).flatten();
        let file = home.env_file();
        let text = home.read_env_file().unwrap_or_else(|error| {
            self.warn(format!("whether an HTTP proxy gets your prompts is not known: {error}"));
            None
        });
        let route = Route::of(variable, text.as_deref().map(|text| (file.as_path(), text)));
        if let (Some((name, place)), Some(mend)) = (&route.proxy_variable, route.mend()) {
            self.warn(detour(name, place, mend));
        }
    }

    fn listener(&mut self, target: &Target) {
        let port = target.port;
        match listener(port).map(|uid| uid.map(|uid| uid.as_raw())) {
            Ok(None) => self.warn(format!("nobody listens on 127.0.0.1:{port} any more")),
            Ok(Some(uid)) if target.listener_uid.is_some_and(|expected| expected != uid) => {
                let account = Host::this().account(uid);
                self.warn(format!("{account} listens on 127.0.0.1:{port} by now"));
            }
            Ok(Some(_)) | Err(_) => {} // Where nobody can be asked, the control socket has told.
        }
    }

    /// Whether the proxy serves that account; `None` where that is not known.
    fn service(&mut self, target: &Target, serves: Option<bool>, whose: &Whose) {
        let account = whose.words();
        match serves {
            Some(true) => {}
            Some(false) => {
                self.has_effect = false;
                let uid = whose.uid();
                self.warn(format!(
                    "this proxy does not serve {account}: have it started with --allow-user {uid} as well"
                ));
            }
            None => self.warn(format!(
                "the proxy on port {} tells {account} nothing, not even whether it serves that account",
                target.port
            )),
        }
    }

    /// It may be a tunnel to a proxy, or no proxy at all.
    fn unknown(&mut self, target: &Target) {
        let Target { port, listener_uid, .. } = *target;
        let account = listener_uid.map_or("somebody".to_owned(), |uid| Host::this().account(uid));
        self.warn(format!(
            "no proxy is known on port {port}: {account} listens there, and is taken for one (a turn tells: codex exec \"say hi\")"
        ));
    }

    /// What may become of the port.
    fn future(
        &mut self,
        target: &Target,
        unprivileged_from: Option<u16>,
        chosen: Option<&RangeInclusive<u16>>,
    ) {
        let port = target.port;
        if target.is_known() && chosen.is_some_and(|chosen| chosen.contains(&port)) {
            self.notes.push(format!(
                "unless the proxy was started with --port {port}, a restart moves it; `codex` follows a moved proxy by itself"
            ));
        }
        let who = if target.is_known() { "the proxy" } else { "that program" };
        let taken = format!("once {who} has ended any account can take port {port}");
        match unprivileged_from {
            Some(first) if port < first => {}
            Some(first) if first > 1 => {
                self.notes.push(format!("{taken}; below {first} only root can"));
            }
            _ => self.notes.push(taken),
        }
    }
}

/// Whether the proxy serves this account: by its own word, or where that is not for us, by its answer to a client.
async fn service(target: &Target, uid: u32) -> Option<bool> {
    let Some(proxy) = &target.proxy else { return serves_this_account(target.port).await };
    Some(proxy.status.policy.serves(uid))
}

/// What makes the detour, and what ends it. For a shell; Codex reads its file like one.
fn detour(name: &str, place: &Where, mend: &Mend) -> String {
    let by = match place {
        Where::Environment => name.to_owned(),
        Where::EnvFile(file) => format!("{name} in {}", file.display()),
    };
    let remedy = match mend {
        Mend::Environment { no_proxy } => {
            format!("export NO_PROXY={} (`codex` does so by itself)", shell_word(no_proxy))
        }
        Mend::EnvFile { file, no_proxy } => {
            format!("put NO_PROXY={} into {}", shell_word(no_proxy), file.display())
        }
    };
    format!("{by} sends what is meant for 127.0.0.1 elsewhere: {remedy}")
}

fn unprivileged_from() -> Option<u16> {
    fs::read_to_string(UNPRIVILEGED_FROM).ok()?.trim().parse().ok()
}

fn chosen_by_kernel() -> Option<RangeInclusive<u16>> {
    range(&fs::read_to_string(CHOSEN_FROM).ok()?)
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use codex_config::{Layer, Problem, Said};

    use super::*;

    const URL: &str = "http://127.0.0.1:4000/v1";

    /// What root listens on.
    fn target(port: u16, pid: Option<u32>) -> Target {
        Target { port, pid, listener_uid: Some(0), proxy: None }
    }

    fn effective(provider: &str, decided_by: Layer, base_url: Option<&str>) -> Effective {
        let base_url = base_url.map(str::to_owned);
        let said = Said {
            layer: decided_by.clone(),
            provider: Some(provider.to_owned()),
            base_url: base_url.clone(),
        };
        let provider = provider.to_owned();
        Effective { provider, decided_by, base_url, said: vec![said], problems: Vec::new() }
    }

    fn provider(effective: &Effective) -> Settled {
        let mut settled = Settled { has_effect: true, ..Settled::default() };
        settled.provider(effective, URL);
        settled
    }

    #[test]
    fn what_is_so_has_effect_and_no_warning() {
        let ours = effective(PROVIDER, Layer::User("/h/config.toml".into()), Some(URL));
        assert_eq!(provider(&ours), Settled { has_effect: true, ..Settled::default() });
    }

    #[test]
    fn the_layer_that_decides_otherwise_is_named() {
        let managed = || Layer::Managed("/etc/codex/managed_config.toml".into());
        let seen = provider(&effective("azure", managed(), None));
        assert!(!seen.has_effect);
        assert_eq!(
            seen.warnings,
            ["/etc/codex/managed_config.toml decides otherwise: Codex will use \"azure\""]
        );
        let seen = provider(&effective(PROVIDER, managed(), Some("http://127.0.0.1:9/v1")));
        assert!(!seen.has_effect);
        assert_eq!(
            seen.warnings,
            [
                "/etc/codex/managed_config.toml has another address: Codex will use http://127.0.0.1:9/v1"
            ]
        );
    }

    #[test]
    fn a_layer_with_which_codex_does_not_start_has_no_effect() {
        for (is_unread, what) in [(false, "is no TOML: line 1"), (true, "is no regular file")] {
            let mut ours = effective(PROVIDER, Layer::User("/h/config.toml".into()), Some(URL));
            let file = "/etc/codex/config.toml".into();
            ours.problems.push(Problem { file, what: what.to_owned(), is_unread });
            let seen = provider(&ours);
            assert_eq!(seen.has_effect, is_unread, "{what}");
            assert_eq!(seen.warnings, [format!("/etc/codex/config.toml: {what}")]);
        }
    }

    #[test]
    fn of_another_address_no_password_is_shown() {
        let managed = Layer::Managed("/etc/codex/managed_config.toml".into());
        let url = "https://alice:word@example.com/v1?key=word";
        let [seen] = &provider(&effective(PROVIDER, managed, Some(url))).warnings[..] else {
            panic!("not one warning")
        };
        assert!(seen.contains("example.com") && !seen.contains("word"), "{seen}");
    }

    #[test]
    fn a_detour_has_a_remedy_where_it_counts() {
        let set = |no_proxy: &str| Mend::Environment { no_proxy: no_proxy.to_owned() };
        assert_eq!(
            detour("HTTP_PROXY", &Where::Environment, &set("localhost,127.0.0.1")),
            "HTTP_PROXY sends what is meant for 127.0.0.1 elsewhere: export NO_PROXY=localhost,127.0.0.1 (`codex` does so by itself)"
        );
        let in_file =
            Mend::EnvFile { file: "/h/.env".into(), no_proxy: "localhost, .corp,127.0.0.1".into() };
        assert_eq!(
            detour("http_proxy", &Where::EnvFile("/h/.env".into()), &in_file),
            "http_proxy in /h/.env sends what is meant for 127.0.0.1 elsewhere: put NO_PROXY='localhost, .corp,127.0.0.1' into /h/.env"
        );
        // The file takes the place of the environment's, though that names the proxy.
        let seen = detour("HTTP_PROXY", &Where::Environment, &in_file);
        assert!(seen.starts_with("HTTP_PROXY sends ") && seen.ends_with(" into /h/.env"), "{seen}");
    }

    #[test]
    fn a_proxy_that_refuses_the_account_has_no_effect_and_one_that_tells_nothing_is_told_of() {
        let account = Whose::Ours.words();
        let uid = Whose::Ours.uid();
        let refuses = format!(
            "this proxy does not serve {account}: have it started with --allow-user {uid} as well"
        );
        let silent = format!(
            "the proxy on port 4000 tells {account} nothing, not even whether it serves that account"
        );
        for (serves, has_effect, warnings) in [
            (Some(true), true, vec![]),
            (Some(false), false, vec![refuses]),
            (None, true, vec![silent]),
        ] {
            let mut settled = Settled { has_effect: true, ..Settled::default() };
            settled.service(&target(4_000, Some(17)), serves, &Whose::Ours);
            assert_eq!(settled, Settled { has_effect, warnings, notes: vec![] });
        }
    }

    #[test]
    fn a_program_that_is_no_known_proxy_is_named_and_never_called_one() {
        let unknown = target(4_000, None);
        let mut settled = Settled { has_effect: true, ..Settled::default() };
        settled.unknown(&unknown);
        settled.future(&unknown, Some(1_024), Some(&(1..=u16::MAX)));
        let root = Host::this().account(0);
        let warning = format!(
            "no proxy is known on port 4000: {root} listens there, and is taken for one (a turn tells: codex exec \"say hi\")"
        );
        let note =
            "once that program has ended any account can take port 4000; below 1024 only root can";
        assert_eq!(
            settled,
            Settled { has_effect: true, warnings: vec![warning], notes: vec![note.to_owned()] }
        );
    }

    #[test]
    fn a_port_has_a_future() {
        let chosen = range("32768\t60999\n").unwrap();
        let moves = "unless the proxy was started with --port 40000, a restart moves it; `codex` follows a moved proxy by itself";
        let taken = |port: u16| {
            format!(
                "once the proxy has ended any account can take port {port}; below 1024 only root can"
            )
        };
        for (port, first, expected) in [
            (40_000, Some(1_024), vec![moves.to_owned(), taken(40_000)]),
            (4_000, Some(1_024), vec![taken(4_000)]),
            (443, Some(1_024), vec![]),
            (
                443,
                Some(0),
                vec!["once the proxy has ended any account can take port 443".to_owned()],
            ),
            (443, None, vec!["once the proxy has ended any account can take port 443".to_owned()]),
        ] {
            let mut settled = Settled::default();
            settled.future(&target(port, Some(17)), first, Some(&chosen));
            assert_eq!(settled.notes, expected, "{port} {first:?}");
        }
        assert_eq!(range("x"), None);
    }
}
