//! `POST /containers/{id}/wait`.

use davit_api::container::{WaitExitError, WaitResponse};
use davit_types::Result;

use super::Progress;
use crate::Engine;
use crate::options::WaitCondition;

impl Engine {
    /// Finds the container at once; the future that comes back waits. Clients start the container
    /// only when the answer's headers are there.
    ///
    /// # Errors
    /// There is no such container.
    pub fn wait(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = WaitResponse> + Send + 'static + use<>> {
        let container = self.inner().containers.find(name)?;
        let mut progress = container.progress();
        let exits = progress.borrow().exits;
        // Held by the future: the channel must not close before the answer.
        Ok(async move {
            let _alive = &container;
            let fulfilled = |progress: &Progress| match condition {
                WaitCondition::NotRunning => !progress.running,
                WaitCondition::NextExit => progress.exits > exits,
                WaitCondition::Removed => false,
            };
            progress
                .wait_for(|progress| fulfilled(progress) || progress.removed.is_some())
                .await
                .map(|progress| answer(&progress))
                .unwrap_or_default()
        })
    }
}

fn answer(progress: &Progress) -> WaitResponse {
    let error = match &progress.removed {
        Some(Err(message)) => Some(WaitExitError { message: message.clone() }),
        _ => None,
    };
    WaitResponse { status_code: i64::from(progress.exit_code), error }
}
