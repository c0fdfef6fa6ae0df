//! Signatures of the verbs that are being written; replaced one by one by files of their own.
#![allow(clippy::missing_errors_doc, clippy::unused_async, missing_docs)]

use davit_api::container::*;
use davit_api::event::EventMessage;
use davit_api::exec::*;
use davit_api::filters::Filters;
use davit_api::image::*;
use davit_api::network::Network;
use davit_api::system::*;
use davit_api::volume::*;
use davit_image::{Progress, Pulled};
use davit_types::{Error, Kind, Result};
use tokio::sync::mpsc;

use crate::options::*;
use crate::Engine;

fn missing<T>() -> Result<T> {
    Err(Error::new(Kind::NotImplemented, "not yet"))
}

impl Engine {
    pub async fn create_container(&self, _name: Option<&str>, _platform: Option<&str>, _body: CreateRequest) -> Result<CreateResponse> { missing() }
    pub async fn start(&self, _name: &str) -> Result<()> { missing() }
    /// `timeout`: seconds, negative for ever; `None`: the container's.
    pub async fn stop(&self, _name: &str, _timeout: Option<i64>, _signal: Option<&str>) -> Result<()> { missing() }
    pub async fn restart(&self, _name: &str, _timeout: Option<i64>, _signal: Option<&str>) -> Result<()> { missing() }
    pub async fn kill(&self, _name: &str, _signal: Option<&str>) -> Result<()> { missing() }
    pub async fn remove(&self, _name: &str, _options: RemoveOptions) -> Result<()> { missing() }
    pub async fn pause(&self, _name: &str) -> Result<()> { missing() }
    pub async fn unpause(&self, _name: &str) -> Result<()> { missing() }
    pub async fn rename(&self, _name: &str, _new_name: &str) -> Result<()> { missing() }
    pub async fn update(&self, _name: &str, _body: UpdateRequest) -> Result<UpdateResponse> { missing() }
    /// Returns as soon as the container is found (send the headers then); the future is the answer.
    pub fn wait(&self, _name: &str, _condition: WaitCondition) -> Result<impl Future<Output = WaitResponse> + Send + 'static + use<>> { missing::<std::future::Ready<WaitResponse>>() }
    pub async fn inspect(&self, _name: &str, _size: bool) -> Result<InspectResponse> { missing() }
    pub async fn list(&self, _options: ListOptions) -> Result<Vec<Summary>> { missing() }
    pub async fn logs(&self, _name: &str, _options: LogOptions) -> Result<LogStream> { missing() }
    /// Checked before the upgrade: does the container exist, may it be attached to, are the detach
    /// keys right? Says whether the stream is multiplexed (no terminal).
    pub fn attach_check(&self, _name: &str, _options: &AttachOptions) -> Result<bool> { missing() }
    /// Hands the upgraded connection over; returns when that is done, not when the stream ends.
    pub async fn attach(&self, _name: &str, _options: AttachOptions, _client: ClientStream) -> Result<()> { missing() }
    pub async fn resize(&self, _name: &str, _height: u16, _width: u16) -> Result<()> { missing() }
    pub async fn top(&self, _name: &str, _ps_args: &str) -> Result<TopResponse> { missing() }
    /// One sample; `one_shot` false: two, a second apart, so that `precpu_stats` is filled.
    pub async fn stats(&self, _name: &str, _one_shot: bool) -> Result<Stats> { missing() }
    /// A sample each second until the receiver is dropped or the container is removed.
    pub async fn stats_stream(&self, _name: &str) -> Result<mpsc::Receiver<Stats>> { missing() }
    pub async fn changes(&self, _name: &str) -> Result<Vec<Change>> { missing() }
    /// A tar of the container's whole root.
    pub async fn export(&self, _name: &str) -> Result<mpsc::Receiver<Result<bytes::Bytes>>> { missing() }
    pub async fn archive_stat(&self, _name: &str, _path: &str) -> Result<PathStat> { missing() }
    pub async fn archive_get(&self, _name: &str, _path: &str) -> Result<(PathStat, mpsc::Receiver<Result<bytes::Bytes>>)> { missing() }
    /// `body`: an uncompressed or gzip tar; `Err` ends the extraction.
    pub async fn archive_put(&self, _name: &str, _path: &str, _options: PutArchiveOptions, _body: mpsc::Receiver<Result<bytes::Bytes>>) -> Result<()> { missing() }
    pub async fn prune_containers(&self, _filters: &Filters) -> Result<PruneResponse> { missing() }

    pub async fn exec_create(&self, _container: &str, _body: ExecCreateRequest) -> Result<ExecCreateResponse> { missing() }
    /// Before the upgrade: does it exist, may it be started? Says whether it has a terminal.
    pub fn exec_start_check(&self, _id: &str) -> Result<bool> { missing() }
    /// Starts it with the client's connection (`None`: detached). Returns when it runs or failed to
    /// start; in that case the caller writes the error into the stream it still holds.
    pub async fn exec_start(&self, _id: &str, _body: ExecStartRequest, _client: Option<ClientStream>) -> Result<()> { missing() }
    pub fn exec_inspect(&self, _id: &str) -> Result<ExecInspectResponse> { missing() }
    pub async fn exec_resize(&self, _id: &str, _height: u16, _width: u16) -> Result<()> { missing() }

    /// Past events of the ring since `since` (nanoseconds), then live ones until `until`.
    pub fn events(&self, _since: Option<i64>, _until: Option<i64>, _filters: Filters) -> Result<mpsc::Receiver<EventMessage>> { missing() }

    pub async fn pull_image(&self, _reference: &str, _platform: Option<&str>, _auth: Option<davit_image::RegistryAuth>, _progress: impl Fn(Progress) + Send + Sync + 'static) -> Result<Pulled> { missing() }
    pub async fn list_images(&self, _all: bool, _filters: &Filters) -> Result<Vec<ImageSummary>> { missing() }
    pub async fn inspect_image(&self, _name: &str) -> Result<ImageInspect> { missing() }
    pub async fn image_history(&self, _name: &str) -> Result<Vec<HistoryItem>> { missing() }
    pub async fn tag_image(&self, _source: &str, _repository: &str, _tag: &str) -> Result<()> { missing() }
    pub async fn remove_image(&self, _name: &str, _options: RemoveImageOptions) -> Result<Vec<DeleteResponse>> { missing() }
    pub async fn prune_images(&self, _filters: &Filters) -> Result<ImagesPruneResponse> { missing() }

    pub fn networks(&self, _filters: &Filters) -> Result<Vec<Network>> { missing() }
    pub fn inspect_network(&self, _name: &str) -> Result<Network> { missing() }

    /// The volume, and whether it was made now.
    pub async fn create_volume(&self, _body: VolumeCreateRequest) -> Result<Volume> { missing() }
    pub fn volumes(&self, _filters: &Filters) -> Result<VolumesListResponse> { missing() }
    pub fn inspect_volume(&self, _name: &str) -> Result<Volume> { missing() }
    pub async fn remove_volume(&self, _name: &str, _force: bool) -> Result<()> { missing() }
    pub async fn prune_volumes(&self, _filters: &Filters) -> Result<VolumesPruneResponse> { missing() }

    pub async fn info(&self) -> Result<Info> { missing() }
    pub fn version(&self) -> VersionResponse { VersionResponse::default() }
    pub async fn disk_usage(&self) -> Result<DiskUsage> { missing() }
}
