//! Which account it is about: the caller's own, or for root the one that was named or that called sudo.

use std::env;

use codex_privileges::Account;
use nix::unistd::geteuid;

use super::error::RelinquishError;

/// What sudo says of its caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Caller {
    uid: Option<String>,
    name: Option<String>,
}

/// Finds it, with the name after `--user` if there is one.
pub(super) fn account(named: Option<&str>) -> Result<Account, RelinquishError> {
    let own = geteuid().as_raw();
    if own != 0 {
        return own_account(named, own);
    }
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let caller = Caller { uid: variable("SUDO_UID"), name: variable("SUDO_USER") };
    match named {
        Some(named) => Ok(Account::find(named)?),
        None => of_caller(&caller),
    }
}

fn own_account(named: Option<&str>, own: u32) -> Result<Account, RelinquishError> {
    let account = Account::find(&own.to_string())?;
    let is_own = |named: &str| named == account.name || named == own.to_string();
    match named {
        Some(named) if !is_own(named) => {
            Err(RelinquishError::OnlyOwnSudo { user: named.to_owned() })
        }
        _ => Ok(account),
    }
}

/// The uid counts: a name may be given to another account while somebody works.
fn of_caller(caller: &Caller) -> Result<Account, RelinquishError> {
    let called = caller.uid.as_deref().filter(|uid| *uid != "0");
    let Some(called) = called.or(caller.name.as_deref()).filter(|caller| *caller != "root") else {
        return Err(RelinquishError::WhoseSudo);
    };
    let account = Account::find(called)?;
    match &caller.name {
        Some(name) if *name != account.name => Err(RelinquishError::CallersDisagree {
            uid: called.to_owned(),
            owner: account.name,
            name: name.clone(),
        }),
        _ => Ok(account),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uid: Option<&str>, name: Option<&str>) -> Caller {
        Caller { uid: uid.map(str::to_owned), name: name.map(str::to_owned) }
    }

    /// Every system has `nobody`.
    #[test]
    fn who_called_sudo_is_meant_if_uid_and_name_agree() {
        let nobody = Account::find("nobody").unwrap();
        let uid = nobody.uid.to_string();
        for (uid, name) in [
            (Some(uid.as_str()), Some("nobody")),
            (Some(uid.as_str()), None),
            (None, Some("nobody")),
        ] {
            assert_eq!(of_caller(&caller(uid, name)).unwrap(), nobody, "{uid:?} {name:?}");
        }
        let error = of_caller(&caller(Some(&uid), Some("alice"))).unwrap_err();
        assert!(matches!(error, RelinquishError::CallersDisagree { .. }), "{error:?}");
    }

    #[test]
    fn root_that_nobody_called_has_to_say_whom_it_means() {
        for (uid, name) in
            [(None, None), (Some("0"), Some("root")), (None, Some("root")), (Some("0"), None)]
        {
            let error = of_caller(&caller(uid, name)).unwrap_err();
            assert!(matches!(error, RelinquishError::WhoseSudo), "{uid:?} {name:?}: {error:?}");
        }
    }

    #[test]
    fn who_is_not_root_speaks_for_nobody_else() {
        let nobody = Account::find("nobody").unwrap();
        let uid = nobody.uid.to_string();
        for named in [None, Some("nobody"), Some(uid.as_str())] {
            assert_eq!(own_account(named, nobody.uid).unwrap(), nobody);
        }
        for named in ["root", "0", "daemon", ""] {
            let error = own_account(Some(named), nobody.uid).unwrap_err();
            assert!(matches!(error, RelinquishError::OnlyOwnSudo { .. }), "{named}: {error:?}");
        }
    }
}
