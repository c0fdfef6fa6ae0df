//! The daemon: command line, sockets and Docker's REST API in front of [`davit_engine::Engine`].
//!
//! It is an index over monitors: at its end, wished or not, containers go on. (dockerd stops them
//! unless it runs with `--live-restore`; here that is the only mode.)

mod api;
mod args;
mod config_file;
mod hangup;
mod listen;
mod process;
mod server;
mod settings;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use davit_engine::Engine;
use tokio::sync::watch;

use api::App;
use args::Args;
use config_file::ConfigFile;
use listen::Listener;
use process::{PidFile, Termination};
use settings::Settings;

/// Threads for blocking work: unpacking layers, walking trees.
const BLOCKING_THREADS: usize = 64;

/// Runs the daemon until a signal ends it. `args` are those behind `davit daemon`.
///
/// # Errors
/// The configuration is wrong, another daemon runs, or the engine can't be opened.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let args = match Args::read(args) {
        Ok(args) => args,
        Err(error) => {
            error.print().context("print usage")?;
            return Ok(if error.use_stderr() { ExitCode::from(125) } else { ExitCode::SUCCESS });
        }
    };
    let file = ConfigFile::load(&args)?;
    let level = settings::log_level(&args, &file)?;
    let settings = Settings::new(&args, &file)?;
    process::start_logging(level);
    if args.validate {
        tracing::info!("configuration OK");
        return Ok(ExitCode::SUCCESS);
    }
    if file.features.is_some() || file.experimental == Some(true) {
        tracing::warn!("the settings features and experimental have no effect");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("start the async runtime")?;
    let result = runtime.block_on(serve(settings));
    // Blocking work under way must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(settings: Settings) -> Result<()> {
    let mut termination = Termination::catch()?;
    let _pid_file = PidFile::create(&settings.pidfile)?;
    let listeners = open_listeners(&settings)?;
    let engine = Engine::open(settings.engine)
        .await
        .map_err(|error| anyhow::Error::new(error).context("open the engine"))?;
    let app = Arc::new(App::new(engine));
    let (stop, stopped) = watch::channel(false);
    let servers: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(server::serve(listener, app.clone(), stopped.clone())))
        .collect();
    process::notify("READY=1")?;
    tracing::info!(hosts = ?settings.hosts, "API is being served");
    let signal = termination.wait().await;
    tracing::info!(signal, "shutting down, containers go on");
    process::notify("STOPPING=1")?;
    stop.send_replace(true);
    for server in servers {
        server.await.context("stop serving")?;
    }
    drop(stopped);
    // Connections hold a receiver each: when all are gone, so are all requests under way.
    if tokio::time::timeout(settings.shutdown_timeout, stop.closed()).await.is_err() {
        tracing::warn!("requests under way were cut off");
    }
    Ok(())
}

/// All sockets, opened before the engine: a second daemon must find out before it touches anything.
fn open_listeners(settings: &Settings) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for host in &settings.hosts {
        listeners.extend(listen::listen(host, settings.group.as_deref())?);
    }
    Ok(listeners)
}
