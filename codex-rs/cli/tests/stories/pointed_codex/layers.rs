//! What an administrator has put into /etc/codex goes before the user's file: Codex does so, and it is said.

use serde_json::Value;

use super::*;
use crate::private_namespace;

/// Runs a command where /etc has one file more. An overlay's upper layer can't lie on an overlay itself.
const SCRIPT: &str = r#"set -eu
mount -t tmpfs -o mode=755 tmpfs "$WORK"
mkdir "$WORK/etc" "$WORK/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$WORK/etc,workdir=$WORK/work" overlay /etc
rm -rf /etc/codex
mkdir /etc/codex
printf %s "$TEXT" >"/etc/codex/$NAME"
exec "$@""#;

/// A file of the administrator's.
struct Layer {
    name: &'static str,
    text: String,
    work: tempfile::TempDir,
}

impl Layer {
    fn new(name: &'static str, text: String) -> Self {
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { name, text, work }
    }

    fn file(&self) -> String {
        format!("/etc/codex/{}", self.name)
    }

    /// A program of the desk's under this layer.
    fn run(&self, desk: &Desk, program: &Path, arguments: &[&str]) -> Output {
        let mut command = desk.bare("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"])
            .arg(program)
            .args(arguments)
            .env("CODEX_REAL_BIN", installed())
            .env("WORK", self.work.path())
            .env("NAME", self.name)
            .env("TEXT", &self.text);
        ended(command)
    }
}

fn missing() -> Option<String> {
    let programs = ["unshare"];
    private_namespace::missing(&programs)
        .or_else(|| crate::real_codex::missing().map(str::to_owned))
}

fn selector(provider: &str) -> String {
    format!("model_provider = \"{provider}\"\n")
}

fn address(url: &str) -> String {
    format!("[model_providers.openai-proxy]\nname = \"K\"\nbase_url = \"{url}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_overrides_is_named_and_codex_does_as_it_says() {
    if !can_run(missing().as_deref()) {
        return;
    }
    let desk = Desk::start().await;
    desk.point(&[]);
    let (ours, theirs) = (PathBuf::from(crate::PROXY.0), installed());
    let elsewhere = base_url(&desk.former);
    let port = desk.proxy.port.to_string();
    for (round, (name, text)) in [
        ("managed_config.toml", selector("former")),
        ("requirements.toml", selector("former")),
        ("managed_config.toml", address(&elsewhere)),
        ("requirements.toml", address(&elsewhere)),
    ]
    .into_iter()
    .enumerate()
    {
        let layer = Layer::new(name, text);
        let file = layer.file();
        let output = layer.run(&desk, &theirs, &TURN);
        assert!(text_of(&output).contains(SAID), "{}", text_of(&output));
        assert_eq!(desk.counts(), (0, round as u64 + 1), "{file}: {}", layer.text);

        let output = layer.run(&desk, &ours, &["proxy", "point", "--port", &port]);
        let said = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let warns = |line: &str| line.starts_with("warning: ") && line.contains(&file);
        assert!(said.lines().any(warns), "{file} is not named: {said}");

        let findings = doctor(&layer, &desk);
        let fails = |finding: &&Value| finding["grade"] == "fail";
        let named = findings.iter().filter(fails).find(|finding| {
            finding["check"] == "layers" && finding["evidence"].as_str().unwrap().contains(&file)
        });
        assert!(named.is_some(), "{file} is not named: {findings:#?}");
    }
}

/// Who types our `codex` there is told so, and Codex does as that layer says.
#[tokio::test(flavor = "multi_thread")]
async fn our_codex_says_who_decides_otherwise_and_hands_over_all_the_same() {
    if !can_run(missing().as_deref()) {
        return;
    }
    let desk = Desk::start().await;
    desk.point(&[]);
    let ours = PathBuf::from(crate::PROXY.0);
    for (round, name) in ["managed_config.toml", "requirements.toml"].into_iter().enumerate() {
        let layer = Layer::new(name, selector("former"));
        let output = layer.run(&desk, &ours, &TURN);
        let warning = format!(
            "codex: warning: {} decides otherwise: Codex uses \"former\", not the proxy\n",
            layer.file()
        );
        let (shown, said) = (text(&output.stdout), text(&output.stderr));
        assert!(shown.contains(SAID) && said.contains(&warning), "{shown}{said}");
        assert_eq!(desk.counts(), (0, round as u64 + 1));
        let said = text_of(&layer.run(&desk, &ours, &["features", "list"]));
        assert!(!said.contains("codex: warning: "), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrators_own_defaults_are_weaker_than_the_pointing() {
    if !can_run(missing().as_deref()) {
        return;
    }
    let desk = Desk::start().await;
    desk.point(&[]);
    let text = selector("former") + &address(&base_url(&desk.former));
    let layer = Layer::new("config.toml", text);
    let output = layer.run(&desk, &installed(), &TURN);
    assert!(text_of(&output).contains(SAID), "{}", text_of(&output));
    assert_eq!(desk.counts(), (1, 0));
    let findings = doctor(&layer, &desk);
    let about: Vec<&Value> =
        findings.iter().filter(|finding| finding["check"] == "layers").collect();
    assert!(about.iter().all(|finding| finding["grade"] == "pass"), "{about:#?}");
}

/// A layer that can't be read keeps Codex from starting, and the doctor says which it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_broken_is_named() {
    if !can_run(missing().as_deref()) {
        return;
    }
    let desk = Desk::start().await;
    desk.point(&[]);
    for name in ["managed_config.toml", "requirements.toml", "config.toml"] {
        let layer = Layer::new(name, "this is no TOML".to_owned());
        let output = layer.run(&desk, &installed(), &TURN);
        assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
        let findings = doctor(&layer, &desk);
        let file = layer.file();
        let named = findings.iter().any(|finding| {
            finding["grade"] == "fail" && finding["evidence"].as_str().unwrap().contains(&file)
        });
        assert!(named, "{file} is not named: {findings:#?}");
    }
    assert_eq!(desk.counts(), (0, 0));
}

/// What `codex proxy doctor` finds under this layer.
fn doctor(layer: &Layer, desk: &Desk) -> Vec<Value> {
    let program = PathBuf::from(crate::PROXY.0);
    let output = layer.run(desk, &program, &["proxy", "doctor", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["findings"].as_array().unwrap().clone()
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}
