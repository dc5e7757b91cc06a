//! What a check has found: a grade, the evidence, and what to do.
//!
//! Nothing in a report ever holds a byte of a key: evidence says where one lies. Names of files and of accounts, and what
//! programs have said, stand in a finding as they are; [`examine`](crate::examine()) takes out what looks like a key, and
//! whoever shows it takes care of control characters.

use serde::Serialize;

/// How good or bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Pass,
    /// It works, and could be safer or clearer; or nobody can say.
    Warn,
    /// Codex does not work through the proxy, or the key can be read.
    Fail,
}

impl Grade {
    /// All of them, from best to worst.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Warn, Self::Fail];

    /// The word for it, on screens and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What one check has found. Never a byte of a key: only where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a name that stays the same, in snake_case.
    pub check: &'static str,
    /// How good or bad it is.
    pub grade: Grade,
    /// What was seen: one sentence, in lower case and without a full stop.
    pub evidence: String,
    /// What to type or to do. It is there on every warn and fail.
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn pass(check: &'static str, evidence: impl Into<String>) -> Self {
        Self { check, grade: Grade::Pass, evidence: evidence.into(), remedy: None }
    }

    /// It works, and could be safer or clearer; or nobody can say.
    pub fn warn(
        check: &'static str,
        evidence: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (evidence, remedy) = (evidence.into(), Some(remedy.into()));
        Self { check, grade: Grade::Warn, evidence, remedy }
    }

    /// Codex does not work through the proxy, or the key can be read.
    pub fn fail(
        check: &'static str,
        evidence: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (evidence, remedy) = (evidence.into(), Some(remedy.into()));
        Self { check, grade: Grade::Fail, evidence, remedy }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn grades_go_from_best_to_worst_and_their_words_are_those_in_json() {
        assert!(Grade::ALL.is_sorted());
        for grade in Grade::ALL {
            assert_eq!(serde_json::to_value(grade).unwrap(), grade.word());
        }
    }

    #[test]
    fn programs_get_every_field_also_where_there_is_no_remedy() {
        let findings = [Finding::pass("proxy", "it runs"), Finding::fail("port", "shut", "open")];
        let expected = json!([
            {"check": "proxy", "grade": "pass", "evidence": "it runs", "remedy": null},
            {"check": "port", "grade": "fail", "evidence": "shut", "remedy": "open"}
        ]);
        assert_eq!(serde_json::to_value(findings).unwrap(), expected);
    }
}
