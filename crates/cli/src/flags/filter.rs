//! `--filter key=value`, given any number of times.

use davit_api::Filters;

use crate::client::Query;

/// Reads one `--filter`.
pub(crate) fn parse(text: &str) -> Result<(String, String), String> {
    if text.is_empty() {
        return Ok((String::new(), String::new()));
    }
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_lowercase(), value.trim().to_owned())),
        None => Err("bad format of filter (expected name=value)".to_owned()),
    }
}

/// All filters of a command.
pub(crate) fn collect(pairs: &[(String, String)]) -> Filters {
    let mut filters = Filters::default();
    for (key, value) in pairs.iter().filter(|(key, _)| !key.is_empty()) {
        filters.add(key.clone(), value.clone());
    }
    filters
}

/// Adds `filters` to a query, nothing when there are none.
pub(crate) fn add(query: Query, filters: &Filters) -> Query {
    if filters.is_empty() { query } else { query.with("filters", filters.to_json()) }
}
