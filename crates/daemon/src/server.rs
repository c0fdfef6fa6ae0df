//! Accepting connections and speaking HTTP on them.

use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::api::App;
use crate::hangup;
use crate::listen::{Listener, Socket};

/// Accepts until `stop` says so. Connections under way go on.
pub(crate) async fn serve(listener: Listener, app: Arc<App>, stop: watch::Receiver<bool>) {
    let mut stopped = stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &app, &stop) => accepted,
            () = told(&mut stopped) => return,
        };
        if let Err(error) = accepted {
            // Out of descriptors, most likely: give connections time to end.
            tracing::warn!("accept connection: {error:#}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

async fn accept(listener: &Listener, app: &Arc<App>, stop: &watch::Receiver<bool>) -> Result<()> {
    match &listener.socket {
        Socket::Unix(listener) => {
            let (stream, _) = listener.accept().await.context("unix socket")?;
            tokio::spawn(connection(stream, app.clone(), stop.clone()));
        }
        Socket::Tcp(listener) => {
            let (stream, _) = listener.accept().await.context("tcp socket")?;
            stream.set_nodelay(true).context("tcp socket")?;
            tokio::spawn(connection(stream, app.clone(), stop.clone()));
        }
    }
    Ok(())
}

/// Waits until the server is told to stop; a teller that is gone counts as that.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves one connection until it ends, is taken over, or the client is gone.
///
/// A client that only closes its sending side still gets its answer (`half_close`), hence the
/// watch for one that is gone altogether: its streams must not be kept until their next byte.
async fn connection<S>(stream: S, app: Arc<App>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
{
    let gone = match hangup::watch(stream.as_fd()) {
        Ok(gone) => gone,
        Err(error) => return tracing::warn!("watch connection: {error}"),
    };
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { Ok::<_, std::convert::Infallible>(app.serve(request).await) }
    });
    let connection = http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::pin!(gone);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = gone.as_mut() => return,
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = gone => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!("connection ended: {error}");
    }
}
