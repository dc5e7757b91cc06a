use super::*;
use crate::finding::Grade;
use crate::subject::testing::subject;

fn names() -> Names {
    let mut us = subject(61_500, &[100, 27, 61_600]);
    for (membership, name) in us.account.groups.iter_mut().zip(["users", "sudo", "operators"]) {
        membership.name = Some(name.to_owned());
    }
    Names::of(&us.account, &Lists::default())
}

/// The grade, the thing, and what closes it.
fn found(file: &str, text: &str) -> Vec<(Grade, String, Option<Closing>)> {
    let findings = judge(Path::new(file), text, &names());
    findings.into_iter().map(|finding| (finding.grade, finding.what, finding.closed_by)).collect()
}

fn admin(of: &str) -> String {
    format!("polkit's administrators: {of}")
}

fn admin_by(file: &str) -> String {
    format!("polkit's administrators by {file}")
}

#[test]
fn administrators_are_taken_at_their_word() {
    let groups = Some(Closing::Groups);
    let elsewhere = || vec![(Grade::Undecided, admin_by("/x.rules"), None)];
    for (list, expected) in [
        (r#"["unix-group:sudo"]"#, vec![(Grade::Open, admin("the group sudo"), groups)]),
        (r"['unix-group:27']", vec![(Grade::Open, admin("the group sudo"), groups)]),
        (
            r#"["unix-group:operators", "unix-user:tst_u"]"#,
            vec![
                (Grade::Open, admin("the group operators"), None),
                (Grade::Open, admin("tst_u"), None),
            ],
        ),
        (r#"["unix-user:61500"]"#, vec![(Grade::Open, admin("tst_u"), None)]),
        (r#"["unix-group:wheel", "unix-user:0"]"#, vec![]),
        (r#"["unix-group:" + name]"#, elsewhere()),
        (r#"["unix-netgroup:ops"]"#, elsewhere()),
    ] {
        let text = format!("polkit.addAdminRule(function(action, subject) {{ return {list}; }});");
        assert_eq!(found("/x.rules", &text), expected, "{list}");
    }
}

#[test]
fn rules_that_speak_of_the_account_and_may_grant_are_left_undecided() {
    let what = "the rules of polkit in /x.rules".to_owned();
    let undecided = |by| vec![(Grade::Undecided, what.clone(), by)];
    let groups = Some(Closing::Groups);
    for (body, expected) in [
        (r#"if (subject.isInGroup("sudo")) return polkit.Result.YES;"#, undecided(groups)),
        (
            r#"if (subject.isInGroup("sudo")) return polkit.Result.AUTH_SELF_KEEP;"#,
            undecided(groups),
        ),
        (r#"if (subject.isInGroup("operators")) return "yes";"#, undecided(None)),
        (r#"if (subject.user == "tst_u") return polkit.Result.YES;"#, undecided(None)),
        (r"if (subject.active) return polkit.Result.YES;", undecided(None)),
        (r#"if (subject.user == "systemd-network") return polkit.Result.YES;"#, vec![]),
        (r#"if (subject.isInGroup("wheel")) return polkit.Result.YES;"#, vec![]),
        (r#"if (subject.isInGroup("sudo")) return polkit.Result.AUTH_ADMIN;"#, vec![]),
        (r#"if (subject.isInGroup("sudo")) return polkit.Result.NO;"#, vec![]),
    ] {
        let text = format!("polkit.addRule(function(action, subject) {{ {body} }});");
        assert_eq!(found("/x.rules", &text), expected, "{body}");
    }
}

#[test]
fn the_older_form_is_read_too() {
    let pkla = "[a]\nIdentity=unix-group:oper*;unix-user:bob\nAction=*\nResultActive=yes\n\
                [b]\nIdentity=unix-user:tst_u\nResultAny=no\nResultActive=auth_admin\n";
    let what = "the rules of polkit in /x.pkla".to_owned();
    assert_eq!(found("/x.pkla", pkla), [(Grade::Undecided, what, None)]);
    assert!(found("/x.pkla", &pkla.replace("oper*", "wheel")).is_empty());
    let conf = "[Configuration]\nAdminIdentities=unix-user:0;unix-group:sudo\n";
    let expected = (Grade::Open, admin("the group sudo"), Some(Closing::Groups));
    assert_eq!(found("/x.conf", conf), [expected]);
    assert!(found("/x.txt", conf).is_empty());
}

#[test]
fn a_pattern_is_matched_as_a_shell_would() {
    for (pattern, text, expected) in [
        ("a", "a", true),
        ("", "", true),
        ("a", "ab", false),
        ("*", "", true),
        ("a*c", "abbc", true),
        ("a*c", "abb", false),
        ("a?c", "abc", true),
        ("?", "", false),
        ("ü*", "üb", true),
    ] {
        assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn folders_are_searched_and_what_is_not_there_is_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("10-vendor.d");
    fs::create_dir(&deep).unwrap();
    for file in [folder.path().join("b.rules"), folder.path().join("a.txt"), deep.join("c.pkla")] {
        fs::write(file, "").unwrap();
    }
    let mut files = Vec::new();
    collect(folder.path(), DEEPEST, &mut files).unwrap();
    collect(&folder.path().join("nothing"), DEEPEST, &mut files).unwrap();
    assert_eq!(files, [deep.join("c.pkla"), folder.path().join("b.rules")]);
}
