//! Who may ask what on the control socket.

use codex_peer_identity::Uid;

use crate::users::Users;

/// The accounts that the control socket knows.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// The account that the proxy runs as.
    pub(crate) serving: Uid,
    /// Who called sudo, if it was started so.
    pub(crate) starter: Option<Uid>,
    pub(crate) users: Users,
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// See all, stop the proxy, and give it another key.
    Operator,
    /// See the proxy and its own exchanges.
    User(Uid),
}

impl Standing {
    /// The one account whose exchanges may be seen, or `None` for all.
    pub(crate) fn sees_only(self) -> Option<u32> {
        match self {
            Self::Operator => None,
            Self::User(uid) => Some(uid.as_raw()),
        }
    }
}

impl Access {
    /// What this account may do, if anything.
    pub(crate) fn of(&self, uid: Uid) -> Option<Standing> {
        if uid.is_root() || uid == self.serving || Some(uid) == self.starter {
            return Some(Standing::Operator);
        }
        self.named().any(|named| named == uid).then_some(Standing::User(uid))
    }

    /// Accounts that `--allow-user` names. Where anyone may use the proxy, nobody is named.
    fn named(&self) -> impl Iterator<Item = Uid> {
        let accounts = match &self.users {
            Users::Anyone => &[],
            Users::Only(accounts) => accounts.as_slice(),
        };
        accounts.iter().map(|account| account.uid)
    }

    /// How many accounts `--allow-user` names.
    pub(crate) fn named_accounts(&self) -> usize {
        self.named().count()
    }

    /// Those but the serving account and root, whom no file mode keeps out.
    pub(crate) fn others(&self) -> Vec<Uid> {
        let mut others: Vec<_> = self.starter.into_iter().chain(self.named()).collect();
        others.retain(|uid| !uid.is_root() && *uid != self.serving);
        others.sort_by_key(|uid| uid.as_raw());
        others.dedup();
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: u32) -> Uid {
        Uid::from_raw(number)
    }

    #[test]
    fn root_the_serving_account_and_the_starter_see_all_and_the_named_see_their_own() {
        let users = Users::resolve(&["7".to_owned(), "8".to_owned(), "0".to_owned()]).unwrap();
        let access = Access { serving: uid(5), starter: Some(uid(6)), users };
        for (number, expected) in [
            (0, Some(Standing::Operator)),
            (5, Some(Standing::Operator)),
            (6, Some(Standing::Operator)),
            (7, Some(Standing::User(uid(7)))),
            (8, Some(Standing::User(uid(8)))),
            (9, None),
            (u32::MAX, None),
        ] {
            assert_eq!(access.of(uid(number)), expected, "{number}");
        }
        assert_eq!(access.others(), [uid(6), uid(7), uid(8)]);
    }

    #[test]
    fn where_anyone_is_served_nobody_is_told() {
        let access = Access { serving: uid(0), starter: None, users: Users::Anyone };
        assert_eq!(access.of(uid(9)), None);
        assert!(access.others().is_empty());
    }
}
