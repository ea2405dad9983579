//! A comparison for a terminal.

use super::{super::table::aligned, Group, Judgement, comparisons, objections};

/// A row a figure; of each further run its change against the first.
pub fn text(groups: &[Group]) -> Result<String, String> {
    let mut head = vec![String::new(), String::new()];
    for (index, group) in groups.iter().enumerate() {
        head.push(format!("{} ({})", group.name, group.runs.len()));
        head.push("range".into());
        if index > 0 {
            head.extend(["change".into(), String::new()]);
        }
    }
    let mut rows = vec![head];
    let mut last = String::new();
    for figure in comparisons(groups)? {
        let cmd = if figure.cmd == last { String::new() } else { figure.cmd.clone() };
        last.clone_from(&figure.cmd);
        let mut row = vec![cmd, figure.metric.clone()];
        for index in 0..groups.len() {
            let (median, range) = figure.shown(index);
            row.extend([median, range]);
            if index > 0 {
                let judged = match figure.judge(index) {
                    Judgement::Better => "better",
                    Judgement::Worse => "worse",
                    Judgement::Same => "same",
                    Judgement::Unknown => "",
                };
                row.extend([figure.change(index).unwrap_or_default(), judged.into()]);
            }
        }
        rows.push(row);
    }
    let mut text = aligned(&rows);
    for objection in objections(groups) {
        text.push_str(&format!("{objection}\n"));
    }
    Ok(text)
}
