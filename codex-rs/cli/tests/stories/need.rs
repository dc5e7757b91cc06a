//! What some tests need of the machine. Where it is missing they say so and how to get it; in CI they
//! fail.

/// Whether a test can run. `missing` says what is not there and how to get it.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
pub(crate) fn met(missing: Option<&str>) -> bool {
    let Some(missing) = missing else { return true };
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "CI must run this test: {missing}");
    eprintln!("not run: {missing}");
    false
}
