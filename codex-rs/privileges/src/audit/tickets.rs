//! sudo's tickets: who has given a password lately is not asked again.
//!
//! Source: sudoers_timestamp(5). sudo 1.9.15 and later name the file by the number of the account, earlier ones by its name.

use std::fs;
use std::path::{Path, PathBuf};

use codex_config::shell_word;

use crate::account::Account;
use crate::finding::{Closing, Finding};

/// Those of the account.
pub(crate) fn of(folder: &Path, account: &Account) -> Vec<PathBuf> {
    let names = [account.name.clone(), account.uid.to_string()];
    let plain = names.into_iter().filter(|name| !name.contains('/') && !name.starts_with('.'));
    plain.map(|name| folder.join(name)).filter(|path| fs::symlink_metadata(path).is_ok()).collect()
}

pub(crate) fn look(tickets: &[PathBuf]) -> Vec<Finding> {
    let finding = |ticket: &PathBuf| {
        let place = ticket.display().to_string();
        let why = "as long as it is fresh, sudo asks for no password";
        Finding::open("ticket", format!("the ticket {place}"), why)
            .seen("it is there")
            .remedy(format!("rm -f {}", shell_word(&place)))
            .closed_by(Closing::Tickets)
    };
    tickets.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::testing::subject;

    #[test]
    fn a_ticket_has_the_name_or_the_number_of_the_account() {
        let folder = tempfile::tempdir().unwrap();
        let account = subject(61_500, &[61_500]).account;
        assert!(of(folder.path(), &account).is_empty());
        for name in ["tst_u", "61500", "tst_u2", "615000"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = of(folder.path(), &account);
        assert_eq!(found, [folder.path().join("tst_u"), folder.path().join("61500")]);
        assert_eq!(look(&found).len(), 2);
        assert!(look(&found).iter().all(|it| it.closed_by == Some(Closing::Tickets)));
    }
}
