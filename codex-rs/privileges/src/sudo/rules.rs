//! sudo's rules, as cvtsudoers(1) writes them out: in the order in which sudo reads them. The last one that matches counts.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

/// One rule: who may run what, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Each with whether it is excepted (`!`).
    pub(crate) users: Vec<(Who, bool)>,
    pub(crate) hosts: Vec<String>,
    pub(crate) runas_users: Vec<String>,
    pub(crate) runas_groups: Vec<String>,
    /// Each with whether it is forbidden (`!`).
    pub(crate) commands: Vec<(String, bool)>,
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// `ALL`.
    All,
    User(String),
    Uid(u32),
    Group(String),
    Gid(u32),
    /// A netgroup, a group of a plug-in: what it means is not known here.
    Other(String),
}

const ALL: &str = "ALL";

#[derive(Deserialize)]
struct Document {
    #[serde(default, rename = "User_Specs")]
    user_specs: Vec<UserSpec>,
}

#[derive(Deserialize)]
struct UserSpec {
    #[serde(default, rename = "User_List")]
    users: Vec<Value>,
    #[serde(default, rename = "Host_List")]
    hosts: Vec<Value>,
    #[serde(default, rename = "Cmnd_Specs")]
    specs: Vec<CommandSpec>,
}

#[derive(Deserialize)]
struct CommandSpec {
    #[serde(default)]
    runasusers: Vec<Value>,
    #[serde(default)]
    runasgroups: Vec<Value>,
    #[serde(default, rename = "Commands")]
    commands: Vec<Value>,
}

/// All rules, in order.
///
/// # Errors
///
/// It is not what cvtsudoers(1) writes.
pub(crate) fn read(json: &[u8]) -> Result<Vec<Rule>, serde_json::Error> {
    let document: Document = serde_json::from_slice(json)?;
    Ok(document.user_specs.iter().flat_map(rules).collect())
}

fn rules(spec: &UserSpec) -> impl Iterator<Item = Rule> + use<'_> {
    spec.specs.iter().map(|command_spec| Rule {
        users: spec.users.iter().map(|user| (who(user), is_negated(user))).collect(),
        hosts: words(&spec.hosts),
        runas_users: words(&command_spec.runasusers),
        runas_groups: words(&command_spec.runasgroups),
        commands: command_spec.commands.iter().map(|it| (word(it), is_negated(it))).collect(),
    })
}

fn who(user: &Value) -> Who {
    let number = |name: &str| user.get(name)?.as_u64()?.try_into().ok();
    let text = |name: &str| user.get(name)?.as_str().map(str::to_owned);
    if let Some(uid) = number("userid") {
        Who::Uid(uid)
    } else if let Some(gid) = number("usergid") {
        Who::Gid(gid)
    } else if let Some(group) = text("usergroup") {
        Who::Group(group)
    } else {
        match text("username") {
            Some(name) if name == ALL => Who::All,
            Some(name) => Who::User(name),
            None => Who::Other(word(user)),
        }
    }
}

fn is_negated(value: &Value) -> bool {
    value.get("negated").and_then(Value::as_bool).unwrap_or_default()
}

/// The one text or number of an object that says what it is about.
fn word(value: &Value) -> String {
    let members = value.as_object().into_iter().flatten();
    let mut texts = members.filter(|(name, _)| *name != "negated").map(|(_, value)| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    texts.next().unwrap_or_default()
}

fn words(values: &[Value]) -> Vec<String> {
    values.iter().map(word).collect()
}

impl Rule {
    /// Whether it is the one that we write: this number, everywhere, as anybody, nothing.
    fn is_our_denial(&self, uid: u32) -> bool {
        let all = [ALL.to_owned()];
        self.users == [(Who::Uid(uid), false)]
            && self.hosts == all
            && self.runas_users == all
            && self.runas_groups == all
            && self.forbids_all()
    }

    /// Whether it lets nobody do anything.
    pub(crate) fn forbids_all(&self) -> bool {
        self.commands == [(ALL.to_owned(), true)]
    }
}

/// Whether our rule for this account is there, with nothing after it that could allow anything again.
pub(crate) fn is_read_last(rules: &[Rule], uid: u32) -> bool {
    let ours = rules.iter().rposition(|rule| rule.is_our_denial(uid));
    ours.is_some_and(|place| rules[place..].iter().all(Rule::forbids_all))
}

/// Rules that come after the last of those that could be ours, in words.
pub(crate) fn after_ours(rules: &[Rule], uid: u32) -> Vec<String> {
    let place = rules.iter().rposition(|rule| rule.is_our_denial(uid));
    let later = place.map_or(&[][..], |place| &rules[place + 1..]);
    later.iter().filter(|rule| !rule.forbids_all()).map(Rule::words).collect()
}

impl Rule {
    /// For people: as it could stand in a file.
    pub(crate) fn words(&self) -> String {
        let join = |words: &[String]| words.join(", ");
        let users: Vec<String> =
            self.users.iter().map(|(who, not)| negated(*not, who.words())).collect();
        let commands: Vec<String> =
            self.commands.iter().map(|(command, not)| negated(*not, command.clone())).collect();
        let groups = if self.runas_groups.is_empty() {
            String::new()
        } else {
            format!(":{}", join(&self.runas_groups))
        };
        let runas = format!("({}{groups})", join(&self.runas_users));
        format!("{} {}={runas} {}", join(&users), join(&self.hosts), join(&commands))
    }
}

fn negated(is_negated: bool, word: String) -> String {
    if is_negated { format!("!{word}") } else { word }
}

impl Who {
    fn words(&self) -> String {
        match self {
            Self::All => ALL.to_owned(),
            Self::User(name) | Self::Other(name) => name.clone(),
            Self::Uid(uid) => format!("#{uid}"),
            Self::Group(group) => format!("%{group}"),
            Self::Gid(gid) => format!("%#{gid}"),
        }
    }
}

/// The groups that rules are about, by name and by number.
pub(crate) fn groups(rules: &[Rule]) -> (BTreeSet<String>, BTreeSet<u32>) {
    let (mut names, mut gids) = (BTreeSet::new(), BTreeSet::new());
    for (who, _) in rules.iter().flat_map(|rule| &rule.users) {
        match who {
            Who::Group(name) => drop(names.insert(name.clone())),
            Who::Gid(gid) => drop(gids.insert(*gid)),
            _ => {}
        }
    }
    (names, gids)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    fn spec(users: Value, runas: Value, groups: Value, commands: Value) -> Value {
        json!({
            "User_List": users, "Host_List": [{"hostname": "ALL"}],
            "Cmnd_Specs": [{"runasusers": runas, "runasgroups": groups, "Commands": commands}]
        })
    }

    fn ours(uid: u32) -> Value {
        let all = || json!([{"username": "ALL"}]);
        let group = json!([{"usergroup": "ALL"}]);
        spec(json!([{"userid": uid}]), all(), group, json!([{"command": "ALL", "negated": true}]))
    }

    fn theirs() -> Value {
        let users =
            json!([{"usergroup": "sudo"}, {"usergid": 27}, {"username": "bob", "negated": true}]);
        let root = json!([{"username": "root"}]);
        spec(users, root, json!([]), json!([{"command": "/bin/ls *"}]))
    }

    fn read_all(specs: Vec<Value>) -> Vec<Rule> {
        let json = json!({"Defaults": [{"Options": [{"env_reset": true}]}], "User_Specs": specs});
        read(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn rules_are_read_in_their_order_and_said_as_they_are_written() {
        let all =
            spec(json!([{"username": "ALL"}]), json!([]), json!([]), json!([{"command": "ALL"}]));
        let other = spec(json!([{"netgroup": "ops"}]), json!([]), json!([]), json!([]));
        let rules = read_all(vec![theirs(), ours(1_000), all, other]);
        let words: Vec<String> = rules.iter().map(Rule::words).collect();
        let expected = [
            "%sudo, %#27, !bob ALL=(root) /bin/ls *",
            "#1000 ALL=(ALL:ALL) !ALL",
            "ALL ALL=() ALL",
            "ops ALL=() ",
        ];
        assert_eq!(words, expected);
        assert_eq!(rules[3].users, [(Who::Other("ops".to_owned()), false)]);
        assert_eq!(groups(&rules), (["sudo".to_owned()].into(), [27].into()));
        assert!(read(b"{}").unwrap().is_empty());
        assert!(read(b"").is_err());
    }

    #[test]
    fn ours_counts_only_where_nothing_after_it_allows_anything() {
        for (specs, expected) in [
            (vec![], false),
            (vec![theirs()], false),
            (vec![theirs(), ours(1_000)], true),
            (vec![theirs(), ours(1_000), ours(1_001)], true),
            (vec![theirs(), ours(1_001)], false),
            (vec![ours(1_000), theirs()], false),
            (vec![ours(1_000), theirs(), ours(1_000)], true),
            (vec![ours(1_000), ours(1_001), theirs(), ours(1_002)], false),
        ] {
            let rules = read_all(specs.clone());
            assert_eq!(is_read_last(&rules, 1_000), expected, "{specs:?}");
        }
        let rules = read_all(vec![theirs(), ours(1_000), theirs(), ours(1_001)]);
        assert_eq!(after_ours(&rules, 1_000), ["%sudo, %#27, !bob ALL=(root) /bin/ls *"]);
    }

    #[test]
    fn a_denial_of_less_than_all_is_not_ours() {
        for (member, value) in [
            ("User_List", json!([{"userid": 1_000}, {"username": "bob"}])),
            ("User_List", json!([{"userid": 1_000, "negated": true}])),
            ("Host_List", json!([{"hostname": "elsewhere"}])),
        ] {
            let mut changed = ours(1_000);
            changed[member] = value;
            assert!(!is_read_last(&read_all(vec![changed.clone()]), 1_000), "{changed}");
        }
        for (member, value) in [
            ("runasusers", json!([{"username": "root"}])),
            ("runasgroups", json!([])),
            ("Commands", json!([{"command": "ALL"}])),
            ("Commands", json!([{"command": "/bin/ls", "negated": true}])),
            ("Commands", json!([{"command": "ALL", "negated": true}, {"command": "/bin/ls"}])),
        ] {
            let mut changed = ours(1_000);
            changed["Cmnd_Specs"][0][member] = value;
            assert!(!is_read_last(&read_all(vec![changed.clone()]), 1_000), "{changed}");
        }
    }
}
