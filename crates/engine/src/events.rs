//! Events: the last 256 are kept for clients that ask about the past, new ones go to who listens.
//!
//! Publishing never waits. A listener that does not keep up loses the oldest of its events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use davit_api::Filters;
use davit_api::event::{EventActor, EventMessage};
use davit_api::filters::EVENTS;
use davit_types::Result;
use tokio::sync::{broadcast, mpsc};

use crate::Engine;

const RING: usize = 256;
const QUEUE: usize = 1024;

/// The engine's events.
#[derive(Debug)]
pub(crate) struct EventBus {
    ring: Mutex<VecDeque<EventMessage>>,
    live: broadcast::Sender<EventMessage>,
}

impl EventBus {
    /// No events yet.
    pub(crate) fn new() -> Self {
        Self { ring: Mutex::default(), live: broadcast::channel(QUEUE).0 }
    }

    /// How many clients listen.
    pub(crate) fn listeners(&self) -> usize {
        self.live.receiver_count()
    }

    /// Tells that `action` happened to the object `id`.
    pub(crate) fn publish(
        &self,
        kind: &str,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        // The clock is read under the lock, so that the ring is in the order of time.
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let time_nano = crate::time::now();
        let event = EventMessage {
            kind: kind.to_owned(),
            action: action.into(),
            actor: EventActor { id: id.into(), attributes },
            scope: "local".to_owned(),
            time: time_nano / 1_000_000_000,
            time_nano,
        };
        if ring.len() == RING {
            ring.pop_front();
        }
        ring.push_back(event.clone());
        // An error only says that nobody listens.
        let _ = self.live.send(event);
    }

    /// The events kept, and all that follow, without a gap.
    fn subscribe(&self) -> (Vec<EventMessage>, broadcast::Receiver<EventMessage>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        (ring.iter().cloned().collect(), self.live.subscribe())
    }
}

impl Engine {
    /// Past events from `since` on (nanoseconds; `None`: no past ones, unless `until` is given), then
    /// live ones until `until`. The channel ends then, or when the receiver is dropped.
    ///
    /// # Errors
    /// An unknown filter.
    pub fn events(
        &self,
        since: Option<i64>,
        until: Option<i64>,
        filters: Filters,
    ) -> Result<mpsc::Receiver<EventMessage>> {
        filters.check(EVENTS)?;
        let (past, live) = self.inner().events.subscribe();
        let past = if since.is_some() || until.is_some() { past } else { Vec::new() };
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(forward(past, live, since, until, filters, sender));
        Ok(receiver)
    }
}

async fn forward(
    past: Vec<EventMessage>,
    mut live: broadcast::Receiver<EventMessage>,
    since: Option<i64>,
    until: Option<i64>,
    filters: Filters,
    sender: mpsc::Sender<EventMessage>,
) {
    let in_time = |event: &EventMessage| {
        since.is_none_or(|since| event.time_nano >= since)
            && until.is_none_or(|until| event.time_nano <= until)
    };
    for event in past.into_iter().filter(|event| in_time(event) && matches(&filters, event)) {
        if sender.send(event).await.is_err() {
            return;
        }
    }
    let left = until.map(|until| u64::try_from(until - crate::time::now()).unwrap_or(0));
    let end = async {
        match left {
            Some(nanoseconds) => {
                tokio::time::sleep(std::time::Duration::from_nanos(nanoseconds)).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        let event = tokio::select! {
            event = live.recv() => event,
            () = &mut end => return,
            () = sender.closed() => return,
        };
        match event {
            Ok(event) if matches(&filters, &event) => {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Does `event` pass the filters? Objects are named by (the beginning of) their id or name.
fn matches(filters: &Filters, event: &EventMessage) -> bool {
    let attributes = &event.actor.attributes;
    let subject = |key: &str, kind: &str| {
        !filters.contains(key)
            || (event.kind == kind
                && filters.get(key).any(|wanted| {
                    event.actor.id.starts_with(wanted)
                        || attributes.get("name").is_some_and(|name| name.starts_with(wanted))
                }))
    };
    let image = !filters.contains("image")
        || filters.get("image").any(|wanted| {
            let named = attributes.get(if event.kind == "image" { "name" } else { "image" });
            (event.kind == "image" && event.actor.id == wanted)
                || named
                    .is_some_and(|name| name == wanted || name.split(':').next() == Some(wanted))
        });
    let action = event.action.split(':').next().unwrap_or_default();
    filters.exact_match("type", &event.kind)
        && filters.exact_match("scope", &event.scope)
        && (filters.exact_match("event", &event.action) || filters.exact_match("event", action))
        && filters.match_labels(attributes)
        && image
        && ["container", "network", "volume", "plugin", "daemon"]
            .iter()
            .all(|kind| subject(kind, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, action: &str, id: &str) -> EventMessage {
        let attributes = [("name", "web"), ("image", "nginx:1"), ("l", "v")];
        EventMessage {
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: EventActor {
                id: id.to_owned(),
                attributes: attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            },
            scope: "local".to_owned(),
            ..EventMessage::default()
        }
    }

    #[test]
    fn filters_name_objects_by_prefix_and_actions_without_details() {
        let event = event("container", "exec_create: sh", "abcdef");
        for (key, value, passes) in [
            ("type", "container", true),
            ("type", "image", false),
            ("container", "abc", true),
            ("container", "we", true),
            ("container", "other", false),
            ("image", "nginx", true),
            ("image", "nginx:1", true),
            ("image", "ngin", false),
            ("event", "exec_create", true),
            ("event", "exec_create: sh", true),
            ("event", "start", false),
            ("label", "l=v", true),
            ("label", "l=w", false),
            ("network", "web", false),
        ] {
            let mut filters = Filters::default();
            filters.add(key, value);
            assert_eq!(matches(&filters, &event), passes, "{key}={value}");
        }
    }

    #[test]
    fn the_ring_keeps_the_newest() {
        let bus = EventBus::new();
        for number in 0..RING + 5 {
            bus.publish("container", "start", number.to_string(), BTreeMap::new());
        }
        let (past, _) = bus.subscribe();
        assert_eq!(past.len(), RING);
        assert_eq!(past[0].actor.id, "5");
    }
}
