//! Making and removing networks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use davit_api::Filters;
use davit_api::filters::PRUNE;
use davit_api::network::{
    Ipam, NetworkCreateRequest, NetworkCreateResponse, NetworksPruneResponse,
};
use davit_network::{NetworkInfo, NetworkRequest, SubnetRequest};
use davit_types::{Error, Kind, Result};

use crate::container::{blocking, until};
use crate::engine::Inner;
use crate::{Engine, error};

impl Engine {
    /// Makes a network.
    ///
    /// # Errors
    /// The name is taken (409), something asked for makes no sense or is not done.
    pub async fn create_network(
        &self,
        body: NetworkCreateRequest,
    ) -> Result<NetworkCreateResponse> {
        refuse(&body)?;
        let inner = Arc::clone(self.inner());
        blocking(move || {
            let made = inner.networks.create(&request(body))?;
            publish(&inner, &made, "create");
            Ok(NetworkCreateResponse { id: made.id, warning: String::new() })
        })
        .await
    }

    /// Removes a network that no running container is connected to.
    ///
    /// # Errors
    /// There is none, it is predefined or in use (403).
    pub async fn remove_network(&self, name: &str) -> Result<()> {
        let inner = Arc::clone(self.inner());
        let name = name.to_owned();
        blocking(move || {
            let removed = inner.networks.remove(&name)?;
            publish(&inner, &removed, "destroy");
            Ok(())
        })
        .await
    }

    /// Removes all networks that no running container is connected to.
    ///
    /// # Errors
    /// An unknown filter, or another prune is at work.
    pub async fn prune_networks(&self, filters: &Filters) -> Result<NetworksPruneResponse> {
        filters.check(PRUNE)?;
        let until = until(filters)?;
        let Ok(_guard) = self.inner().pruning.try_lock() else {
            return Err(error::prune_running());
        };
        let mut deleted = Vec::new();
        for info in self.inner().networks.list() {
            let is_old = until.is_none_or(|until| created(&info) < until);
            let stays = info.is_predefined || info.definition.config_only || !is_old;
            if stays || !filters.match_labels(&info.definition.labels) {
                continue;
            }
            // In use, or used meanwhile: then it stays.
            if self.remove_network(&info.id).await.is_ok() {
                deleted.push(info.name);
            }
        }
        let reclaimed = ("reclaimed".to_owned(), "0".to_owned());
        self.inner().events.publish("network", "prune", "", [reclaimed].into());
        let networks_deleted = (!deleted.is_empty()).then_some(deleted);
        Ok(NetworksPruneResponse { networks_deleted })
    }
}

/// Nanoseconds since the epoch.
fn created(info: &NetworkInfo) -> i64 {
    let since = info.definition.created.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn publish(inner: &Inner, info: &NetworkInfo, action: &str) {
    let attributes = BTreeMap::from([
        ("name".to_owned(), info.name.clone()),
        ("type".to_owned(), info.driver.clone()),
    ]);
    inner.events.publish("network", action, info.id.clone(), attributes);
}

/// What is Docker's and not done is said, not ignored.
fn refuse(body: &NetworkCreateRequest) -> Result<()> {
    let faults = [
        (body.ingress, "ingress networks"),
        (!matches!(body.scope.as_str(), "" | "local"), "networks of another scope than local"),
    ];
    if let Some((_, what)) = faults.iter().find(|(is_so, _)| *is_so) {
        return Err(Error::new(Kind::NotImplemented, format!("{what} are not supported")));
    }
    match body.ipam.as_ref().map(|ipam| ipam.driver.as_str()) {
        None | Some("" | "default") => Ok(()),
        Some(other) => Err(Error::not_found(format!("plugin {other:?} not found"))),
    }
}

fn request(body: NetworkCreateRequest) -> NetworkRequest {
    let Ipam { options, config, .. } = body.ipam.unwrap_or_default();
    let subnets = config.unwrap_or_default().into_iter().map(|config| SubnetRequest {
        subnet: config.subnet,
        range: config.ip_range,
        gateway: config.gateway,
        auxiliary: config.auxiliary_addresses,
    });
    NetworkRequest {
        name: body.name,
        driver: body.driver,
        ipv4: body.enable_ipv4.unwrap_or(true),
        ipv6: body.enable_ipv6.unwrap_or(false),
        internal: body.internal,
        attachable: body.attachable,
        options: body.options.unwrap_or_default(),
        labels: body.labels.unwrap_or_default(),
        ipam_options: options,
        subnets: subnets.collect(),
        config_only: body.config_only,
        config_from: body.config_from.map(|from| from.network).unwrap_or_default(),
    }
}
