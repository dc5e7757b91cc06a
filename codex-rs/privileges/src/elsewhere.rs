//! Systems on which nothing is done for the user: what they would do themselves, as a preview.
//!
//! Source: dseditgroup(8) and sudoers(5) of macOS, as documented; it was not tried.

use crate::account::Account;

/// The steps, to be done by hand by an administrator, and what they leave open.
pub fn by_hand(account: &Account) -> Vec<String> {
    let Account { name, uid, .. } = account;
    vec![
        format!("sudo sh -c 'umask 337 && echo \"#{uid} ALL=(ALL:ALL) !ALL\" >/etc/sudoers.d/zzzz-codex-{uid}'"),
        "sudo visudo -c".to_owned(),
        format!("sudo dseditgroup -o edit -d {name} -t user admin"),
        format!("dseditgroup -o checkmember -m {name} admin"),
        format!("log {name} out, and in again: a process keeps the groups that it has"),
        "Authorization Services asks other rules than sudo: see `security authorizationdb read system.privilege.admin`".to_owned(),
    ]
}
