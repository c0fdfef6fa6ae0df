//! `--format` of lists: a table, one JSON object per line, or a template per object.

use std::io::Write as _;

use tabwriter::TabWriter;

use super::template::{Row, Template, Value};
use crate::failure::{Failure, Outcome};

/// How one kind of object is listed.
pub(crate) struct Listing {
    /// Fields and their titles.
    pub(crate) titles: &'static [(&'static str, &'static str)],
    /// The template of the default table.
    pub(crate) default: &'static str,
    /// The template of `--quiet`.
    pub(crate) quiet: &'static str,
}

impl Listing {
    /// Prints `rows` as `--format` and `--quiet` say.
    pub(crate) fn print(&self, rows: Vec<Row>, format: Option<&str>, quiet: bool) -> Outcome {
        super::text(&self.render(rows, format, quiet)?)
    }

    /// The text that [`Listing::print`] prints.
    pub(crate) fn render(
        &self,
        rows: Vec<Row>,
        format: Option<&str>,
        quiet: bool,
    ) -> Outcome<String> {
        let format = format.filter(|text| !text.is_empty());
        let (template, is_table) = match format {
            Some("table") | None if quiet => (self.quiet, false),
            Some("table") | None => (self.default.trim_start_matches("table "), true),
            Some("json") => ("{{json .}}", false),
            Some(text) => match text.strip_prefix("table ") {
                Some(template) => (template.trim(), true),
                None => (text, false),
            },
        };
        let template =
            Template::parse(&unescape(template)).map_err(|failure| reworded(failure, "parse"))?;
        let mut lines = Vec::with_capacity(rows.len() + 1);
        if is_table {
            let header = template.render(&self.header());
            lines.push(header.map_err(|failure| reworded(failure, "execute"))?);
        }
        for row in rows {
            let line = template.render(&Value::Row(row));
            lines.push(line.map_err(|failure| reworded(failure, "execute"))?);
        }
        let text = lines.iter().fold(String::new(), |text, line| text + line + "\n");
        if is_table { align(&text) } else { Ok(text) }
    }

    fn header(&self) -> Value {
        let columns =
            self.titles.iter().map(|(field, title)| (*field, Value::from(*title))).collect();
        let methods = vec![("Label", Value::Echo)];
        Value::Row(Row { columns, methods })
    }
}

/// Lists report a bad template in other words than `inspect` does.
fn reworded(failure: Failure, step: &str) -> Failure {
    let text =
        failure.text.replacen("template parsing error", &format!("failed to {step} template"), 1);
    Failure { text, ..failure }
}

/// `\t` and `\n` written as two characters mean the control characters.
fn unescape(template: &str) -> String {
    template.replace("\\t", "\t").replace("\\n", "\n")
}

/// Puts tab-separated columns under each other: at least ten wide, three spaces apart.
pub(crate) fn align(text: &str) -> Outcome<String> {
    align_with(text, 7, 3)
}

/// The same with other widths.
pub(crate) fn align_with(text: &str, minimum: usize, padding: usize) -> Outcome<String> {
    let mut writer = TabWriter::new(Vec::new()).minwidth(minimum).padding(padding);
    writer.write_all(text.as_bytes())?;
    let bytes = writer.into_inner().map_err(|error| Failure::new(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| Failure::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Listing = Listing {
        titles: &[("ID", "CONTAINER ID"), ("Image", "IMAGE"), ("Names", "NAMES")],
        default: "table {{.ID}}\\t{{.Image}}\\t{{.Names}}",
        quiet: "{{.ID}}",
    };

    fn render(format: Option<&str>, quiet: bool) -> String {
        let row = |id: &str, name: &str| {
            Row::new(vec![("ID", id.into()), ("Image", "nginx".into()), ("Names", name.into())])
                .with_labels([("k".to_owned(), "v".to_owned())])
        };
        LISTING
            .render(vec![row("abc", "web"), row("def", "db")], format, quiet)
            .expect("good template")
    }

    #[test]
    fn lists_are_tables_templates_or_json() {
        let table = "CONTAINER ID   IMAGE     NAMES\nabc            nginx     web\ndef            nginx     db\n";
        assert_eq!(render(None, false), table);
        assert_eq!(render(Some("table"), false), table);
        assert_eq!(render(None, true), "abc\ndef\n");
        assert_eq!(render(Some("{{.Names}}:{{.Label \"k\"}}"), true), "web:v\ndb:v\n");
        assert_eq!(
            render(Some("table {{.Names}}\\t{{.ID}}"), false),
            "NAMES     CONTAINER ID\nweb       abc\ndb        def\n"
        );
        assert_eq!(
            render(Some("json"), false),
            "{\"ID\":\"abc\",\"Image\":\"nginx\",\"Names\":\"web\"}\n{\"ID\":\"def\",\"Image\":\"nginx\",\"Names\":\"db\"}\n"
        );
    }
}
