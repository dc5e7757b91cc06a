//! All that was found.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::finding::{Finding, Grade};

/// All that was found, in the order of [`checks`](crate::checks()).
///
/// As JSON: `{"worst":"warn","findings":[{"check":…,"grade":…,"evidence":…,"remedy":…}]}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of all grades; where nothing was found, nothing is wrong.
    pub fn worst(&self) -> Grade {
        self.findings.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Pass)
    }

    /// How many findings have this grade.
    pub fn count(&self, grade: Grade) -> usize {
        self.findings.iter().filter(|finding| finding.grade == grade).count()
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 2)?;
        report.serialize_field("worst", &self.worst())?;
        report.serialize_field("findings", &self.findings)?;
        report.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_as_bad_as_the_worst_that_is_in_it() {
        let good = || Finding::pass("proxy", "it runs");
        let so_so = || Finding::warn("port", "anyone could", "choose another");
        let bad = || Finding::fail("files", "a key lies there", "take it out");
        for (findings, worst, counts) in [
            (vec![], Grade::Pass, [0, 0, 0]),
            (vec![good()], Grade::Pass, [1, 0, 0]),
            (vec![so_so(), good()], Grade::Warn, [1, 1, 0]),
            (vec![good(), bad(), so_so(), bad()], Grade::Fail, [1, 1, 2]),
        ] {
            let report = Report { findings };
            assert_eq!(report.worst(), worst);
            assert_eq!(Grade::ALL.map(|grade| report.count(grade)), counts);
        }
    }

    #[test]
    fn programs_read_the_worst_first() {
        let report = Report { findings: vec![Finding::warn("port", "open", "shut it")] };
        let expected = r#"{"worst":"warn","findings":[{"check":"port","grade":"warn","evidence":"open","remedy":"shut it"}]}"#;
        assert_eq!(serde_json::to_string(&report).unwrap(), expected);
        let none = serde_json::to_string(&Report { findings: Vec::new() }).unwrap();
        assert_eq!(none, r#"{"worst":"pass","findings":[]}"#);
    }
}
