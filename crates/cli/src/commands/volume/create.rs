//! `davit volume create`

use clap::Args;
use davit_api::volume::{Volume, VolumeCreateRequest};

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::Outcome;
use crate::flags::text::key_value;
use crate::flags::values;
use crate::output;
use crate::session::Session;

/// Flags of `davit volume create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Driver of the volume
    #[arg(long, short, default_value = "local")]
    driver: String,
    /// Label, key=value
    #[arg(long, value_parser = values::label)]
    label: Vec<String>,
    /// Option of the driver, key=value
    #[arg(long, short, value_name = "map")]
    opt: Vec<String>,
    operands: Vec<String>,
}

impl Verb for Create {
    const ABOUT: &'static str = "Create a volume";
    const USAGE: &'static str = "[OPTIONS] [VOLUME]";
    const ARITY: Arity = Arity::AtMost(1);

    async fn run(self, session: &Session) -> Outcome {
        let request = VolumeCreateRequest {
            name: self.operands.first().cloned().unwrap_or_default(),
            driver: self.driver.clone(),
            driver_opts: Some(self.opt.iter().map(|text| key_value(text)).collect()),
            labels: Some(self.label.iter().map(|text| key_value(text)).collect()),
        };
        let volume: Volume =
            session.client.post_json("/volumes/create", &Query::new(), &request).await?;
        output::line(&volume.name)
    }
}
