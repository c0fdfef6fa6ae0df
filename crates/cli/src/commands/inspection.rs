//! What every `inspect` does: gather documents as the daemon sent them, print them together or through a template.

use std::future::Future;

use bytes::Bytes;

use super::unset;
use crate::client::Query;
use crate::failure::{Failure, Outcome};
use crate::output::template::{Template, Value};
use crate::output::{self, json};
use crate::session::Session;

/// The exit status for a template that is none.
const BAD_TEMPLATE: u8 = 64;

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
        Some("json") | None => None,
        Some(text) => {
            Some(Template::parse(text).map_err(|failure| failure.with_code(BAD_TEMPLATE))?)
        }
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
                let mut value = Value::parse(document).map_err(Failure::new)?;
                unset::mark(&mut value);
                match template.render(&value) {
                    Ok(text) => output::line(&text)?,
                    Err(failure) => {
                        output::line("")?;
                        failures.push(failure.text);
                        break;
                    }
                };
            }
        }
        None => {
            print_array(&documents, format == Some("json"))?;
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
}

fn print_array(documents: &[Bytes], in_one_line: bool) -> Outcome {
    let mut array = b"[".to_vec();
    array.extend_from_slice(&documents.join(&b","[..]));
    array.push(b']');
    let text = if in_one_line { json::compact(&array) } else { json::indented(&array) };
    output::line(&text.map_err(Failure::new)?)
}

/// Fetches one document.
pub(crate) async fn document(session: &Session, path: &str, size: bool) -> Outcome<Bytes> {
    session.client.get_raw(path, &Query::new().with_flag("size", size)).await
}
