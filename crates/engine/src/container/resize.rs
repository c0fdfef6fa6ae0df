//! `resize`: the size of a container's terminal.

use davit_monitor::protocol::Request;
use davit_types::Result;

use crate::{Engine, error};

impl Engine {
    /// Sets the size of the terminal.
    ///
    /// # Errors
    /// The container does not run (409), or has no terminal.
    pub async fn resize(&self, name: &str, height: u16, width: u16) -> Result<()> {
        let container = self.inner().containers.find(name)?;
        let snapshot = container.snapshot();
        if !snapshot.record.state.has_process() {
            return Err(error::not_running(container.id.as_str()));
        }
        if snapshot.record.config.tty {
            container.monitor()?.request(Request::Resize { height, width }, None).await?;
        }
        let attributes = [("height", height.to_string()), ("width", width.to_string())];
        self.inner().publish(&snapshot, "resize", &attributes);
        Ok(())
    }
}
