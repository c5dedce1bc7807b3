//! The metrics that are known by name: their kind, and whether they are asked for where the config names none.

use super::naming::Kind;

/// A metric of SonarQube.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub key: &'static str,
    pub kind: Kind,
    /// Asked for by `metrics: default`.
    pub is_default: bool,
    /// What it says, for the list of metrics.
    pub help: &'static str,
}

const fn asked(key: &'static str, kind: Kind, help: &'static str) -> Known {
    Known { key, kind, is_default: true, help }
}

const fn other(key: &'static str, kind: Kind, help: &'static str) -> Known {
    Known { key, kind, is_default: false, help }
}

use Kind::{Data, Int, Level, Millisec, Percent, Rating, Text, WorkDuration};

/// Others are taken as `metrics/search` describes them.
#[rustfmt::skip]
pub const CATALOGUE: &[Known] = &[
    asked("alert_status", Level, "Quality gate: 1 at the status it has, 0 at the others."),
    asked("bugs", Int, "Bugs."),
    asked("reliability_rating", Rating, "Reliability, 1 (A) to 5 (E)."),
    other("reliability_remediation_effort", WorkDuration, "Time it takes to fix all bugs."),
    asked("vulnerabilities", Int, "Vulnerabilities."),
    asked("security_rating", Rating, "Security, 1 (A) to 5 (E)."),
    other("security_remediation_effort", WorkDuration, "Time it takes to fix all vulnerabilities."),
    asked("security_hotspots", Int, "Security hotspots."),
    other("security_hotspots_reviewed", Percent, "Part of the security hotspots that was reviewed."),
    asked("security_review_rating", Rating, "Security review, 1 (A) to 5 (E)."),
    asked("code_smells", Int, "Code smells."),
    asked("sqale_rating", Rating, "Maintainability, 1 (A) to 5 (E)."),
    asked("sqale_index", WorkDuration, "Technical debt: time it takes to fix all code smells."),
    asked("sqale_debt_ratio", Percent, "Technical debt over the cost of writing the code anew."),
    asked("violations", Int, "Issues."),
    asked("blocker_violations", Int, "Issues by severity."),
    asked("critical_violations", Int, "Issues by severity."),
    asked("major_violations", Int, "Issues by severity."),
    asked("minor_violations", Int, "Issues by severity."),
    asked("info_violations", Int, "Issues by severity."),
    asked("coverage", Percent, "Part of lines and conditions that tests cover."),
    asked("line_coverage", Percent, "Part of lines that tests cover."),
    asked("branch_coverage", Percent, "Part of conditions that tests cover."),
    asked("lines_to_cover", Int, "Lines that tests could cover."),
    asked("uncovered_lines", Int, "Lines that no test covers."),
    other("conditions_to_cover", Int, "Conditions that tests could cover."),
    other("uncovered_conditions", Int, "Conditions that no test covers."),
    asked("tests", Int, "Unit tests."),
    asked("test_failures", Int, "Unit tests that fail."),
    asked("test_errors", Int, "Unit tests that end in an error."),
    other("skipped_tests", Int, "Unit tests that are skipped."),
    other("test_success_density", Percent, "Part of the unit tests that succeed."),
    asked("test_execution_time", Millisec, "Time that unit tests take."),
    asked("duplicated_lines_density", Percent, "Part of the lines that is duplicated."),
    other("duplicated_lines", Int, "Duplicated lines."),
    other("duplicated_blocks", Int, "Duplicated blocks."),
    asked("ncloc", Int, "Lines of code."),
    asked("ncloc_language_distribution", Data, "Lines of code by language."),
    other("lines", Int, "Lines."),
    other("functions", Int, "Functions."),
    other("classes", Int, "Classes."),
    other("files", Int, "Files."),
    other("comment_lines_density", Percent, "Part of the lines that is comment."),
    asked("complexity", Int, "Cyclomatic complexity."),
    asked("cognitive_complexity", Int, "Cognitive complexity."),
    asked("reliability_issues", Data, "Issues of a software quality by severity."),
    asked("security_issues", Data, "Issues of a software quality by severity."),
    asked("maintainability_issues", Data, "Issues of a software quality by severity."),
    asked("new_coverage", Percent, "Part of the new lines and conditions that tests cover."),
    asked("new_violations", Int, "Issues of new code."),
    other("new_bugs", Int, "Bugs of new code."),
    other("new_vulnerabilities", Int, "Vulnerabilities of new code."),
    other("new_code_smells", Int, "Code smells of new code."),
    other("new_technical_debt", WorkDuration, "Technical debt of new code."),
    other("new_duplicated_lines_density", Percent, "Part of the new lines that is duplicated."),
    other("new_lines", Int, "New lines."),
    other("new_security_hotspots_reviewed", Percent, "Part of the security hotspots of new code that was reviewed."),
    other("new_reliability_rating", Rating, "Reliability of new code, 1 (A) to 5 (E)."),
    other("new_security_rating", Rating, "Security of new code, 1 (A) to 5 (E)."),
    other("new_maintainability_rating", Rating, "Maintainability of new code, 1 (A) to 5 (E)."),
    other("effort_to_reach_maintainability_rating_a", WorkDuration, "Time it takes to reach the best maintainability."),
    other("development_cost", Text, "Cost of writing the code anew, in minutes."),
    other("last_commit_date", Millisec, "When the last commit was made."),
    other("high_impact_accepted_issues", Int, "Accepted issues of high impact."),
    other("accepted_issues", Int, "Accepted issues."),
    other("false_positive_issues", Int, "Issues that are false positives."),
];

/// The keys asked for where the config names none.
pub fn default_keys() -> impl Iterator<Item = &'static str> {
    CATALOGUE.iter().filter(|known| known.is_default).map(|known| known.key)
}

pub fn find(key: &str) -> Option<&'static Known> {
    CATALOGUE.iter().find(|known| known.key == key)
}
