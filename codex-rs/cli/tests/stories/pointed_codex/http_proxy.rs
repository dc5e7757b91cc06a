//! Behind a company's HTTP proxy: Codex would send there what is meant for 127.0.0.1.

use serde_json::Value;

use super::*;

/// An HTTP proxy that refuses all, as one does that knows no 127.0.0.1 of ours.
async fn company_proxy() -> (MockUpstream, String) {
    let scenario = Scenario::Status { status: 400, retry_after: None };
    let proxy = MockUpstream::start(Options { scenario, ..Options::default() }).await.unwrap();
    let url = format!("http://{}", proxy.address());
    (proxy, url)
}

/// What the doctor says of the way.
fn route(desk: &Desk, variables: &[(&str, &str)]) -> Value {
    let mut command = desk.ours(&["proxy", "doctor", "--json"]);
    command.envs(variables.iter().copied());
    let report: Value = serde_json::from_slice(&ended(command).stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["check"] == "route").unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_codex_gets_past_it_and_the_doctor_says_that_codex_itself_would_not() {
    if !can_run(missing()) {
        return;
    }
    let desk = Desk::start().await;
    desk.point(&[]);
    let (company, url) = company_proxy().await;
    let mut direct = desk.theirs(&TURN);
    direct.env("HTTP_PROXY", &url);
    assert!(!ended(direct).status.success());
    assert_eq!((company.counts().requests, desk.counts()), (1, (0, 0)));

    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        let before = desk.counts().0;
        let mut led = desk.ours(&TURN);
        led.env(name, &url).env("NO_PROXY", "localhost,*");
        completed(led);
        assert_eq!(desk.counts(), (before + 1, 0), "{name}");
    }
    assert_eq!(company.counts().requests, 1);

    let finding = route(&desk, &[("HTTP_PROXY", &url)]);
    assert_ne!(finding["grade"], "pass", "{finding}");
    assert!(finding["evidence"].as_str().unwrap().contains("HTTP_PROXY"), "{finding}");
    assert!(finding["remedy"].as_str().unwrap().contains("NO_PROXY"), "{finding}");
    let finding = route(&desk, &[("HTTP_PROXY", &url), ("NO_PROXY", "127.0.0.1")]);
    assert_eq!(finding["grade"], "pass", "{finding}");
}

/// What stands in Codex's own `.env` is stronger than the environment, ours too.
#[tokio::test(flavor = "multi_thread")]
async fn a_dot_env_goes_before_what_our_codex_sets_and_is_named() {
    if !can_run(missing()) {
        return;
    }
    let desk = Desk::start().await;
    desk.point(&[]);
    let (company, url) = company_proxy().await;
    let env_file = desk.codex_home().join(".env");
    fs::write(&env_file, format!("HTTP_PROXY={url}\n")).unwrap();
    completed(desk.ours(&TURN));
    assert_eq!((company.counts().requests, desk.counts()), (0, (1, 0)), "NO_PROXY is ours");

    fs::write(&env_file, format!("HTTP_PROXY={url}\nNO_PROXY=localhost\n")).unwrap();
    let output = ended(desk.ours(&TURN));
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    let warning = said.lines().find(|line| line.starts_with("codex: warning: "));
    assert!(warning.is_some_and(|line| line.contains(str(&env_file))), "{said}");
    assert_eq!((company.counts().requests, desk.counts()), (1, (1, 0)));
    let finding = route(&desk, &[]);
    assert_eq!(finding["grade"], "fail", "{finding}");
    assert!(finding["remedy"].as_str().unwrap().contains(str(&env_file)), "{finding}");

    fs::write(&env_file, format!("HTTP_PROXY={url}\nNO_PROXY=127.0.0.1\n")).unwrap();
    completed(desk.theirs(&TURN));
    assert_eq!(route(&desk, &[])["grade"], "pass");
}
