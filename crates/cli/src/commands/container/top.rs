//! `davit top`

use clap::Args;
use davit_api::container::TopResponse;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::Outcome;
use crate::output::{self, format};
use crate::session::Session;

/// Flags of `davit top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    #[arg(trailing_var_arg = true)]
    operands: Vec<String>,
}

impl Verb for Top {
    const ABOUT: &'static str = "List the processes of a container";
    const USAGE: &'static str = "CONTAINER [ps OPTIONS]";
    const ARITY: Arity = Arity::AtLeast(1);

    async fn run(self, session: &Session) -> Outcome {
        let (name, options) = (&self.operands[0], self.operands[1..].join(" "));
        let query =
            Query::new().with_some("ps_args", Some(options).filter(|text| !text.is_empty()));
        let top: TopResponse = session.client.get(&path(name, "/top"), &query).await?;
        let rows = std::iter::once(&top.titles).chain(&top.processes);
        let text: String = rows.map(|row| row.join("\t") + "\n").collect();
        output::text(&format::align_with(&text, 17, 3)?)
    }
}
