use super::*;
use crate::finding::Grade;
use crate::subject::testing::subject;

fn nothing(_: &str) -> bool {
    false
}

/// What is found: check, thing, whether it is open, what closes it, remedy.
type Row = (&'static str, String, bool, Option<Closing>, String);

fn found(group: &str, gshadow: &str, gids: &[u32]) -> Vec<Row> {
    let subject = subject(61_500, gids);
    let lists = Lists::of(group, gshadow, "", "");
    let look = Look {
        account: &subject.account,
        lists: &lists,
        is_named: &|name: &str| name == "named",
        has_sudo: true,
    };
    let row = |finding: Finding| {
        let is_open = finding.grade == Grade::Open;
        (finding.check, finding.what, is_open, finding.closed_by, finding.remedy)
    };
    look.findings().into_iter().map(row).collect()
}

fn row(check: &'static str, what: &str, by: Option<Closing>, remedy: &str) -> Row {
    (check, what.to_owned(), true, by, remedy.to_owned())
}

#[test]
fn a_membership_is_closed_where_a_list_has_it() {
    let sudo = "the group sudo";
    let groups = Some(Closing::Groups);
    let directory =
        "the administrator of the directory that accounts come from takes tst_u out of the group";
    for (group, gids, expected) in [
        (
            "sudo:x:27:tst_u\n",
            &[100, 27][..],
            vec![row("group", sudo, groups, "gpasswd -d tst_u sudo")],
        ),
        ("sudo:x:27:\n", &[100, 27], vec![row("group", sudo, None, directory)]),
        (
            "sudo:x:27:\n",
            &[27],
            vec![row("group", sudo, None, "groupadd tst_u && usermod -g tst_u tst_u")],
        ),
        (
            "sudo:x:27:tst_u\ntst_u:x:100:\n",
            &[27],
            vec![row("group", sudo, None, "usermod -g tst_u tst_u")],
        ),
        // The same number under another name.
        (
            "sudo:x:27:\nharmless:x:27:tst_u\n",
            &[100, 27],
            vec![row("group", sudo, groups, "gpasswd -d tst_u harmless")],
        ),
        ("adm:x:4:tst_u\nsudo:x:27:bob\nnamed:x:28:tst_u\n", &[100, 4, 28], vec![]),
    ] {
        assert_eq!(found(group, "", gids), expected, "{group}");
    }
}

#[test]
fn a_name_that_only_the_directory_knows_leads_as_well() {
    let mut subject = subject(61_500, &[100, 61_900]);
    subject.account.groups[1].name = Some("docker".to_owned());
    let look = Look {
        account: &subject.account,
        lists: &Lists::default(),
        is_named: &nothing,
        has_sudo: true,
    };
    let [finding] = &look.findings()[..] else { panic!() };
    assert_eq!((finding.what.as_str(), finding.closed_by), ("the group docker", None));
}

#[test]
fn administrators_of_groups_that_count_are_found_with_who_remains() {
    let admins = Some(Closing::GroupAdmins);
    let group = "sudo:x:27:\nnamed:x:28:\nusers:x:100:\n";
    let gshadow = "sudo:!:tst_u:\nnamed:!:bob,tst_u,carol:\nusers:!:tst_u:\nwheel:!:tst_u:\n";
    assert_eq!(
        found(group, gshadow, &[100]),
        [
            row("group_admin", "administering the group sudo", admins, "gpasswd -A '' sudo"),
            row(
                "group_admin",
                "administering the group named",
                admins,
                "gpasswd -A bob,carol named"
            ),
        ]
    );
}

#[test]
fn a_group_can_be_joined_by_gshadow_alone_or_perhaps_by_its_password() {
    let (joining, password) = ("joining the group docker", "the password of the group docker");
    let groups = Some(Closing::Groups);
    let open = row("group_password", joining, groups, "gpasswd -d tst_u docker");
    let undecided =
        |remedy: &str| ("group_password", password.to_owned(), false, None, remedy.to_owned());
    for (group, gshadow, expected) in [
        ("docker:x:9:\n", "docker:!::tst_u\n", vec![open]),
        ("docker:x:9:\n", "docker:::\n", vec![]), // Empty: members only.
        ("docker::9:\n", "", vec![]),
        ("docker:x:9:\n", "docker:$6$s$h::\n", vec![undecided("gpasswd -r docker")]),
        ("docker:$6$s$h:9:\n", "", vec![undecided("gpasswd -r docker")]),
        ("docker:$6$s$h:9:\n", "docker:!::\n", vec![]),
        ("users:$6$s$h:9:\n", "users:!::tst_u\n", vec![]),
        ("named:x:9:\n", "named:$6$s$h::tst_u\n", vec![]), // A rule's alone.
    ] {
        assert_eq!(found(group, gshadow, &[100]), expected, "{group} {gshadow}");
    }
}

#[test]
fn what_is_held_is_what_the_lists_name_and_counts() {
    let group = "sudo:x:27:tst_u,bob\nother:x:27:tst_u\nnamed:x:28:tst_u\nusers:x:100:tst_u\n\
                 docker:x:9:\ndisk:x:6:bob\n";
    let gshadow = "sudo:!:tst_u,bob:tst_u\ndocker:!::tst_u\nusers:!:tst_u:\n";
    let subject = subject(61_500, &[100, 27]);
    let lists = Lists::of(group, gshadow, "", "");
    let look = Look {
        account: &subject.account,
        lists: &lists,
        is_named: &|name: &str| name == "named",
        has_sudo: true,
    };
    let held = look.held();
    assert_eq!(held.leave, ["sudo", "other", "named", "docker"]);
    let expected = Administered { group: "sudo".to_owned(), remaining: vec!["bob".to_owned()] };
    assert_eq!(held.administered, [expected]);
    let named_by_none = Look { is_named: &nothing, ..look };
    assert_eq!(named_by_none.held().leave, ["sudo", "other", "docker"]);
}

#[test]
fn without_sudo_its_groups_lead_nowhere() {
    let subject = subject(61_500, &[100, 27, 9]);
    let lists = Lists::of("sudo:x:27:tst_u\ndocker:x:9:tst_u\n", "sudo:!:tst_u:\n", "", "");
    let look =
        Look { account: &subject.account, lists: &lists, is_named: &nothing, has_sudo: false };
    let whats: Vec<String> = look.findings().into_iter().map(|it| it.what).collect();
    assert_eq!(whats, ["the group docker", "administering the group sudo"]);
}

#[test]
fn a_list_that_cant_be_read_is_said() {
    let subject = subject(61_500, &[100]);
    let unread = crate::group_file::Unread { file: GSHADOW, because: "denied".to_owned() };
    let lists = Lists { unread: vec![unread], ..Lists::default() };
    let look =
        Look { account: &subject.account, lists: &lists, is_named: &nothing, has_sudo: true };
    let [finding] = &look.findings()[..] else { panic!() };
    assert_eq!((finding.grade, finding.what.as_str()), (Grade::Undecided, GSHADOW));
}
