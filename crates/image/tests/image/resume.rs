//! A pull never goes backwards: whatever breaks, no byte comes over the network twice.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use davit_image::{ImageStore, PullOptions};
use davit_types::Reference;

use crate::auth::{Answer, Request, Server, found, repository};
use crate::support::needs_root;

/// Larger than this is the layer.
const DOCUMENT: usize = 100_000;
/// A broken connection carries between 5 and 20 % of the blob.
const SHARES: [usize; 6] = [5, 20, 11, 7, 17, 13];

/// Serves a repository whose layer comes in pieces, and counts.
struct Flaky {
    files: HashMap<String, (Vec<u8>, &'static str)>,
    /// Bytes of the layer sent.
    sent: AtomicUsize,
    connections: AtomicUsize,
    /// The layer is refused.
    down: AtomicBool,
    /// So many connections carry some of the layer, then it is refused.
    good_for: AtomicUsize,
    knows_ranges: bool,
}

impl Flaky {
    fn new(knows_ranges: bool) -> Arc<Self> {
        let noise: Vec<u8> =
            (0..500_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        Arc::new(Self {
            files: repository(&noise),
            sent: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            down: AtomicBool::new(false),
            good_for: AtomicUsize::new(usize::MAX),
            knows_ranges,
        })
    }

    fn serve(self: &Arc<Self>) -> Server {
        let flaky = Arc::clone(self);
        Server::start(move |request, _| flaky.answer(request))
    }

    fn layer_size(&self) -> usize {
        self.files.values().map(|(bytes, _)| bytes.len()).max().expect("files")
    }

    fn answer(&self, request: &Request) -> Answer {
        let mut answer = found(&self.files, &request.path);
        if answer.body.len() < DOCUMENT {
            return answer;
        }
        if self.down.load(Ordering::SeqCst) {
            return Answer::new("500 Internal Server Error");
        }
        let connection = self.connections.fetch_add(1, Ordering::SeqCst);
        if connection + 1 == self.good_for.load(Ordering::SeqCst) {
            self.down.store(true, Ordering::SeqCst);
        }
        let total = answer.body.len();
        if let Some(range) = request.headers.get("range").filter(|_| self.knows_ranges) {
            let start = range.trim_start_matches("bytes=").trim_end_matches('-');
            let start: usize = start.parse().expect("a start");
            answer.status = "206 Partial Content";
            answer.body.drain(..start);
            answer = answer.header("Content-Range", format!("bytes {start}-{}/{total}", total - 1));
        }
        let share = SHARES[connection % SHARES.len()];
        if self.knows_ranges {
            answer.cut = Some(total * share / 100);
        }
        let sent = answer.cut.unwrap_or(usize::MAX).min(answer.body.len());
        self.sent.fetch_add(sent, Ordering::SeqCst);
        answer
    }
}

async fn pull(root: &Path, server: &Server) -> davit_types::Result<()> {
    let store = ImageStore::open(root).expect("open store");
    let name = format!("{}/team/app", server.address);
    let reference = Reference::parse_familiar(&name).expect("reference");
    store.pull(&reference, PullOptions::default(), |_| {}).await?;
    store.resolve(&name).map(drop)
}

#[tokio::test]
async fn root_item2_cut_connections_cost_no_byte_twice() {
    if !needs_root("root_item2_cut_connections_cost_no_byte_twice") {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let flaky = Flaky::new(true);
    pull(root.path(), &flaky.serve()).await.expect("in many pieces");
    let (sent, size) = (flaky.sent.load(Ordering::SeqCst), flaky.layer_size());
    assert!(flaky.connections.load(Ordering::SeqCst) >= 5);
    assert!(sent * 100 <= size * 105, "{sent} bytes sent for {size}");
}

#[tokio::test]
async fn root_item2_a_new_store_goes_on_where_the_old_one_ended() {
    if !needs_root("root_item2_a_new_store_goes_on_where_the_old_one_ended") {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let flaky = Flaky::new(true);
    let server = flaky.serve();
    for good in [2, 4, 5] {
        flaky.good_for.store(good, Ordering::SeqCst);
        pull(root.path(), &server).await.expect_err("it went down");
        flaky.down.store(false, Ordering::SeqCst);
    }
    flaky.good_for.store(usize::MAX, Ordering::SeqCst);
    pull(root.path(), &server).await.expect("the rest");
    let (sent, size) = (flaky.sent.load(Ordering::SeqCst), flaky.layer_size());
    assert!(sent * 100 <= size * 105, "{sent} bytes sent for {size}");
    let left = |name: &str| std::fs::read_dir(root.path().join(name)).expect(name).count();
    assert_eq!((left("image/partial"), left("image/ingest")), (0, 0));
}

#[tokio::test]
async fn root_item2_damaged_bytes_on_disk_are_fetched_again() {
    if !needs_root("root_item2_damaged_bytes_on_disk_are_fetched_again") {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let flaky = Flaky::new(true);
    let server = flaky.serve();
    flaky.good_for.store(2, Ordering::SeqCst);
    pull(root.path(), &server).await.expect_err("it went down");
    flaky.down.store(false, Ordering::SeqCst);
    let partial = std::fs::read_dir(root.path().join("image/partial")).expect("partial");
    let partial = partial.map(|entry| entry.expect("entry").path()).next().expect("one");
    let mut bytes = std::fs::read(&partial).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&partial, bytes).expect("damage");
    flaky.good_for.store(usize::MAX, Ordering::SeqCst);
    pull(root.path(), &server).await.expect("healed");
}

#[tokio::test]
async fn root_item2_a_registry_without_ranges_still_works() {
    if !needs_root("root_item2_a_registry_without_ranges_still_works") {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let flaky = Flaky::new(true);
    let server = flaky.serve();
    flaky.good_for.store(1, Ordering::SeqCst);
    pull(root.path(), &server).await.expect_err("it went down");
    let whole = Flaky::new(false);
    // The same layer from a server that answers 200 to every range.
    pull(root.path(), &whole.serve()).await.expect("from the beginning, what is known left out");
}

#[tokio::test]
async fn root_item1_retry_after_is_honoured() {
    if !needs_root("root_item1_retry_after_is_honoured") {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let files = repository(b"x");
    let refusals = AtomicUsize::new(0);
    let server = Server::start(move |request, _| {
        if refusals.fetch_add(1, Ordering::SeqCst) % 3 < 2 {
            return Answer::new("429 Too Many Requests").header("Retry-After", "0");
        }
        found(&files, &request.path)
    });
    pull(root.path(), &server).await.expect("with patience");
    let busy = Server::start(|_, _| Answer::new("429 Too Many Requests"));
    let error = pull(root.path(), &busy).await.expect_err("nothing says when");
    assert!(format!("{error:#}").contains("toomanyrequests"), "{error:#}");
}
