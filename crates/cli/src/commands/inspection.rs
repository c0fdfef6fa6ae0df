//! What every `inspect` does: gather documents as the daemon sent them, print them together or through a template.

use std::future::Future;

use bytes::Bytes;

use crate::client::Query;
use crate::failure::{Failure, Outcome};
use crate::output::template::{Template, Value};
use crate::output::{self, json};
use crate::session::Session;

/// Fetches each named object with `fetch` and prints what was found; what was not is reported at the end.
pub(crate) async fn inspect<'n, F, Fut>(
    names: &'n [String],
    format: Option<&str>,
    fetch: F,
) -> Outcome
where
    F: Fn(&'n str) -> Fut,
    Fut: Future<Output = Outcome<Bytes>>,
{
    let template = match format.filter(|text| !text.is_empty()) {
        Some("json") => Some(Template::parse("{{json .}}")?),
        Some(text) => Some(Template::parse(text)?),
        None => None,
    };
    let (mut documents, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match fetch(name).await {
            Ok(document) => documents.push(document),
            Err(failure) => failures.push(failure.text),
        }
    }
    match &template {
        Some(template) => {
            for document in &documents {
                let value = Value::parse(document).map_err(Failure::new)?;
                output::line(&template.render(&value)?)?;
            }
        }
        None => {
            print_array(&documents)?;
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
}

fn print_array(documents: &[Bytes]) -> Outcome {
    let mut array = b"[".to_vec();
    array.extend_from_slice(&documents.join(&b","[..]));
    array.push(b']');
    output::line(&json::indented(&array).map_err(Failure::new)?)
}

/// Fetches one document.
pub(crate) async fn document(session: &Session, path: &str, size: bool) -> Outcome<Bytes> {
    session.client.get_raw(path, &Query::new().with_flag("size", size)).await
}
