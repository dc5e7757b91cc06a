//! What the layers say, and whether a proxy is there.

use std::path::Path;

use codex_config::{Effective, Layer, PROVIDER, Problem, Said};

use super::*;
use crate::finding::Grade::{self, Fail, Pass, Warn};

const CONFIG: &str = "/home/a/.codex/config.toml";
const URL: &str = "http://127.0.0.1:4000/v1";

fn user() -> Layer {
    Layer::User(CONFIG.into())
}

fn managed() -> Layer {
    Layer::Managed("/etc/codex/managed_config.toml".into())
}

/// What one layer alone says.
fn says(layer: Layer, provider: &str, base_url: Option<&str>) -> Effective {
    let (provider, base_url) = (provider.to_owned(), base_url.map(str::to_owned));
    Effective {
        provider: provider.clone(),
        decided_by: layer.clone(),
        base_url: base_url.clone(),
        said: vec![Said { layer, provider: Some(provider), base_url }],
        problems: Vec::new(),
    }
}

fn is_pointed() -> Effective {
    says(user(), PROVIDER, Some(URL))
}

/// Pointed, and overridden by an administrator.
fn overridden() -> Effective {
    let mut strongest = says(managed(), "azure", None);
    strongest.said.extend(is_pointed().said);
    strongest
}

fn at(port: u16, runs: bool) -> Proxy {
    Proxy { port, pid: 17, runs }
}

fn pointing(effective: Effective) -> Pointing {
    Pointing { effective, file: CONFIG.into(), refused: None }
}

fn facts(effective: Effective, proxies: &[Proxy]) -> Facts {
    Facts {
        plain: pointing(effective),
        profile: None,
        proxies: proxies.to_vec(),
        listeners: BTreeMap::new(),
        is_guarded: false,
    }
}

/// The same, where somebody listens on the port that Codex is pointed at.
fn with_listener(facts: Facts, account: &str, is_foreign: bool) -> Facts {
    let listener = Listener { account: account.to_owned(), is_foreign };
    Facts { listeners: [(4_000, listener)].into(), ..facts }
}

fn words(finding: &Finding) -> (Grade, &str, &str) {
    (finding.grade, &finding.evidence, finding.remedy.as_deref().unwrap_or(""))
}

#[test]
fn codex_is_pointed_where_a_proxy_is_or_it_is_said_what_to_do() {
    let ours = format!("Codex uses the provider \"openai-proxy\", as {CONFIG} says");
    let dead = format!("{ours}, at {URL}, where no proxy is");
    let built_in = || says(Layer::BuiltIn, "openai", None);
    let start = format!("{START_ONE} --port 4000; or undo it: codex proxy unpoint");
    let ask = "ask who administers this machine to take model_provider out of /etc/codex/managed_config.toml";
    let anew = "point again: codex proxy point";
    let by_hand = says(user(), "mine", Some(URL));
    let far = says(user(), PROVIDER, Some("http://user:secret@example.com/v1"));
    let no_url = says(user(), PROVIDER, None);
    let profile = says(Layer::Profile("/p.config.toml".into()), PROVIDER, Some(URL));
    let profile = Some(pointing(profile));
    let with_profile = Facts { profile, ..facts(built_in(), &[at(4_000, true)]) };
    let guarded = Facts { is_guarded: true, ..facts(is_pointed(), &[at(5_000, true)]) };
    for (facts, grade, evidence, remedy) in [
        (
            facts(is_pointed(), &[at(5_000, true), at(4_000, true)]),
            Pass,
            format!("{ours}, at {URL}: the proxy with pid 17"),
            "",
        ),
        (
            facts(is_pointed(), &[at(4_000, false)]),
            Pass,
            format!("{ours}, at {URL}: the proxy with pid 17"),
            "",
        ),
        (
            facts(by_hand, &[at(4_000, true)]),
            Pass,
            format!(
                "Codex uses the provider \"mine\", as {CONFIG} says, at {URL}: the proxy with pid 17"
            ),
            "",
        ),
        (
            with_profile,
            Pass,
            format!(
                "with `-p openai-proxy` Codex uses the provider \"openai-proxy\", as the profile /p.config.toml says, at {URL}: the proxy with pid 17"
            ),
            "",
        ),
        (facts(is_pointed(), &[]), Fail, dead.clone(), &start),
        (facts(is_pointed(), &[at(5_000, true)]), Fail, dead.clone(), anew),
        (
            guarded,
            Warn,
            format!("{dead}; `codex` is this program, and follows it to port 5000"),
            "for other programs too, point again: codex proxy point",
        ),
        (
            facts(far, &[]),
            Fail,
            format!(
                "{ours}, at http://example.com/…, which is not of the form http://127.0.0.1:PORT/v1"
            ),
            anew,
        ),
        (
            facts(no_url, &[]),
            Fail,
            format!("{ours}, which has no base_url, as in http://127.0.0.1:PORT/v1"),
            anew,
        ),
        (
            facts(built_in(), &[at(4_000, true)]),
            Warn,
            "Codex uses the provider \"openai\", as Codex itself says, and not the proxy"
                .to_owned(),
            "point it at the proxy: codex proxy point",
        ),
        (
            facts(overridden(), &[at(4_000, true)]),
            Fail,
            format!(
                "Codex uses the provider \"azure\", as /etc/codex/managed_config.toml says, though {CONFIG} is pointed at the proxy"
            ),
            ask,
        ),
    ] {
        assert_eq!(words(&provider(&facts)), (grade, &*evidence, remedy));
    }
}

/// `with -p openai-proxy`, where the user's own file says nothing.
fn by_profile(proxies: &[Proxy]) -> Facts {
    let profile = says(Layer::Profile("/p.config.toml".into()), PROVIDER, Some(URL));
    let profile = Some(Pointing { file: "/p.config.toml".into(), ..pointing(profile) });
    Facts { profile, ..facts(says(Layer::BuiltIn, "openai", None), proxies) }
}

#[test]
fn a_profile_is_mended_and_undone_as_a_profile() {
    let start = format!("{START_ONE} --port 4000; or undo it: codex proxy unpoint --profile");
    let again = "point again: codex proxy point --profile";
    let too = format!("for other programs too, {again}");
    let guarded = Facts { is_guarded: true, ..by_profile(&[at(5_000, true)]) };
    for (facts, grade, remedy) in [
        (by_profile(&[]), Fail, &*start),
        (by_profile(&[at(5_000, true)]), Fail, again),
        (guarded, Warn, &*too),
    ] {
        let finding = provider(&facts);
        assert_eq!((finding.grade, finding.remedy.as_deref()), (grade, Some(remedy)));
    }
}

#[test]
fn no_proxy_is_started_on_a_port_that_is_taken() {
    let ours = format!("Codex uses the provider \"openai-proxy\", as {CONFIG} says, at {URL}");
    let foreign = format!("{ours}, where eve (uid 1001) listens, and no proxy");
    let near = format!("{ours}, where root (uid 0) listens, and no proxy was found");
    let another = "start yours on another port, and point again: codex proxy point";
    let named = format!(
        "if that is your proxy, name its file: codex proxy doctor --server-info FILE; else {another}"
    );
    let moved = || Facts { is_guarded: true, ..facts(is_pointed(), &[at(5_000, true)]) };
    let follows = format!("{foreign}; `codex` is this program, and follows it to port 5000");
    let again = "point again: codex proxy point";
    let too = format!("for other programs too, {again}");
    for (facts, is_foreign, grade, evidence, remedy) in [
        (facts(is_pointed(), &[]), true, Fail, &foreign, another),
        (facts(is_pointed(), &[]), false, Fail, &near, &*named),
        (moved(), true, Warn, &follows, &*too),
        (moved(), false, Fail, &near, again),
    ] {
        let account = if is_foreign { "eve (uid 1001)" } else { "root (uid 0)" };
        let facts = with_listener(facts, account, is_foreign);
        assert_eq!(words(&provider(&facts)), (grade, &**evidence, remedy));
    }
    let profile = with_listener(by_profile(&[]), "eve (uid 1001)", true);
    assert_eq!(provider(&profile).remedy, Some(format!("{another} --profile")));
}

/// An address that an administrator has fixed our `codex` does not follow away from.
#[test]
fn a_fixed_address_is_followed_by_nobody() {
    let mut fixed = is_pointed();
    fixed.said.insert(0, Said { layer: managed(), provider: None, base_url: Some(URL.to_owned()) });
    let facts = Facts { is_guarded: true, ..facts(fixed, &[at(5_000, true)]) };
    let finding = provider(&facts);
    let remedy = "change /etc/codex/managed_config.toml";
    assert_eq!((finding.grade, finding.remedy.as_deref()), (Fail, Some(remedy)));
}

#[test]
fn what_a_file_says_that_can_not_be_read_is_not_known() {
    let problem =
        Problem { file: CONFIG.into(), what: "is no TOML: line 3: x".to_owned(), is_unread: false };
    let effective = Effective { problems: vec![problem], ..says(Layer::BuiltIn, "openai", None) };
    let findings = judge(&facts(effective, &[at(4_000, true)]));
    let untold = format!(
        "which provider Codex uses can't be told: it does not start while {CONFIG} is as it is"
    );
    let mend = format!("mend {CONFIG}: `layers` says what is wrong with it");
    assert_eq!(words(&findings[0]), (Fail, &*untold, &*mend));
    let what = format!("{CONFIG}: is no TOML: line 3: x");
    let starts = "mend it, or ask whose file it is: Codex does not start with it";
    assert_eq!(words(&findings[1]), (Fail, &*what, starts));
    assert_eq!(findings.len(), 2);
}

/// Codex has other limits than we have.
#[test]
fn what_is_too_large_for_us_may_be_none_of_codexs_troubles() {
    let what = "is larger than 4194304 bytes".to_owned();
    let problem = Problem { file: CONFIG.into(), what, is_unread: true };
    let effective = Effective { problems: vec![problem], ..says(Layer::BuiltIn, "openai", None) };
    let findings = judge(&facts(effective, &[]));
    let untold =
        format!("which provider Codex uses can't be told: {CONFIG} can't be read by this program");
    assert_eq!(findings[0].evidence, untold);
    let may = "mend it, or ask whose file it is: Codex may not start with it";
    assert_eq!(findings[1].remedy.as_deref(), Some(may));
}

/// Another provider's address, which an administrator has fixed, is not what keeps Codex from the proxy.
#[test]
fn where_only_an_address_is_overridden_point_is_what_helps() {
    let mut other = says(user(), "mine", Some("http://192.0.2.1/v1"));
    let base_url = Some("http://192.0.2.2/v1".to_owned());
    other.said.insert(0, Said { layer: managed(), provider: None, base_url });
    let finding = provider(&facts(other, &[]));
    let point = "point it at the proxy: codex proxy point";
    assert_eq!((finding.grade, finding.remedy.as_deref()), (Warn, Some(point)));
}

#[test]
fn each_layer_that_overrides_and_each_file_that_can_not_be_read_is_named() {
    let judged = |effective: &Effective| layers::judge(effective, Path::new(CONFIG));
    let free = format!("nothing goes before {CONFIG}");
    for effective in [is_pointed(), says(Layer::BuiltIn, "openai", None)] {
        let findings = judged(&effective);
        assert_eq!(findings.iter().map(words).collect::<Vec<_>>(), [(Pass, &*free, "")]);
    }
    let other = format!(
        "/etc/codex/managed_config.toml sets model_provider = \"azure\", which goes before {CONFIG}"
    );
    let ask = "ask who administers this machine to take model_provider out of /etc/codex/managed_config.toml";
    assert_eq!(words(&judged(&overridden())[0]), (Fail, &*other, ask));
    assert_eq!(words(&judged(&says(managed(), "azure", None))[0]), (Warn, &*other, ask));

    let mut elsewhere = is_pointed();
    let said = Said {
        layer: managed(),
        provider: None,
        base_url: Some("http://user:secret@example.com/v1".to_owned()),
    };
    elsewhere.said.insert(0, said);
    let url = format!(
        "/etc/codex/managed_config.toml sets another base_url for \"openai-proxy\", which goes before {CONFIG}"
    );
    let ask = "ask who administers this machine to take base_url of [model_providers.openai-proxy] out of /etc/codex/managed_config.toml";
    assert_eq!(words(&judged(&elsewhere)[0]), (Fail, &*url, ask));

    let mut same = is_pointed();
    let (provider, base_url) = (Some(PROVIDER.to_owned()), Some(URL.to_owned()));
    same.said.insert(0, Said { layer: managed(), provider, base_url });
    assert_eq!(judged(&same)[0].grade, Pass, "what says the same is in nobody's way");

    let problem =
        Problem { file: CONFIG.into(), what: "no TOML at line 3".to_owned(), is_unread: false };
    let broken = Effective { problems: vec![problem], ..overridden() };
    let findings = judged(&broken);
    assert_eq!(findings.len(), 2);
    assert_eq!(findings[0].evidence, format!("{CONFIG}: no TOML at line 3"));
}

#[tokio::test]
async fn a_fresh_machine_is_not_pointed_and_nothing_overrides() {
    let folder = tempfile::tempdir().unwrap();
    let findings = look(Arc::new(Host::for_tests(folder.path()))).await;
    let grades: Vec<_> = findings.iter().map(|finding| (finding.check, finding.grade)).collect();
    assert_eq!(grades, [("provider", Warn), ("layers", Pass)]);
}
