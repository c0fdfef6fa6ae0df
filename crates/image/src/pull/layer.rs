//! One layer in one pass: network → SHA-256 → inflate → SHA-256 → untar → disk.
//!
//! The network side hashes the compressed bytes and feeds a blocking thread that does the rest
//! through a bounded channel. The thread takes the end for real only when the network side says
//! that the digest was right.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use davit_types::{Context as _, Digest, Error, Result};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::fetch::{self, Fetched};
use super::share::Stage;
use super::stream::ChunkReader;
use crate::archive::{UnpackOptions, Whiteouts, unpack};
use crate::image::{Descriptor, LayerId};
use crate::registry::Registry;
use crate::store::{BlobPins, Inner, LayerPins, Unpacking};

/// Chunks between network and disk; one is at most a few hundred KiB.
const CHUNKS: usize = 16;
/// 128 MiB, what zstd itself allows by default.
const ZSTD_WINDOW_LOG: u32 = 27;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Times a blob is fetched when its bytes turn out to be wrong.
const FETCHES: u32 = 2;

/// Gets `blob` and unpacks it as `layer`. Ends early when nobody listens to `stages` any more.
pub(super) async fn download(
    inner: &Arc<Inner>,
    registry: &Registry,
    layer: &LayerId,
    blob: &Descriptor,
    stages: &watch::Sender<Stage>,
) -> Result<()> {
    let _pins = LayerPins::new(inner, std::slice::from_ref(layer));
    let _blobs = BlobPins::new(inner, [blob.digest.clone()]);
    let mut wrong = None;
    for _ in 0..FETCHES {
        match once(inner, registry, layer, blob, stages).await {
            Ok(None) => return Ok(()),
            Ok(Some(actual)) => {
                warn!(blob = %blob.digest, %actual, "wrong bytes, fetched again");
                wrong = Some(actual);
            }
            Err(error) => {
                return Err(error).context(|| format!("failed to pull layer {}", blob.digest));
            }
        }
    }
    let (wanted, actual) = (&blob.digest, wrong.as_ref().map_or("nothing", Digest::as_str));
    let verified =
        format!("filesystem layer verification failed for digest {wanted}: got {actual}");
    Err(Error::internal(verified)).context(|| format!("failed to pull layer {wanted}"))
}

/// Gets a blob whose layer is unpacked already: a push needs it. Ends with its pull.
pub(super) async fn fetch_blob(
    inner: &Arc<Inner>,
    registry: &Registry,
    blob: &Descriptor,
) -> Result<()> {
    let _alone = inner.downloads.blobs_only.lock().await;
    let (stages, _watched) = watch::channel(Stage::Waiting);
    for _ in 0..FETCHES {
        if inner.has_blob(blob) {
            return Ok(());
        }
        let (chunks, mut received) = mpsc::channel(CHUNKS);
        let drained = async { while received.recv().await.is_some() {} };
        let fetching = fetch::fetch(inner, registry, blob, &stages, chunks);
        let (fetched, ()) = tokio::join!(fetching, drained);
        fetched.context(|| format!("failed to pull layer {}", blob.digest))?;
    }
    match inner.has_blob(blob) {
        true => Ok(()),
        false => Err(Error::internal(format!(
            "filesystem layer verification failed for digest {}",
            blob.digest
        ))),
    }
}

/// One try. Some digest when the bytes have that one instead.
async fn once(
    inner: &Arc<Inner>,
    registry: &Registry,
    layer: &LayerId,
    blob: &Descriptor,
    stages: &watch::Sender<Stage>,
) -> Result<Option<Digest>> {
    let permit = inner.downloads.permits.acquire().await;
    let (chunks, received) = mpsc::channel(CHUNKS);
    let work = {
        let (inner, layer) = (Arc::clone(inner), layer.clone());
        tokio::task::spawn_blocking(move || {
            unpack_layer(&inner, &layer, ChunkReader::new(received))
        })
    };
    let fetched = tokio::select! {
        fetched = fetch::fetch(inner, registry, blob, stages, chunks) => fetched,
        () = stages.closed() => Err(Error::internal("download cancelled")),
    };
    drop(permit);
    let unpacked = work.await.context(|| "unpack thread")?;
    // A wrong digest explains a broken archive; a closed channel is explained by it.
    match (fetched, unpacked) {
        (Err(error), _) => Err(error),
        (Ok(Fetched::Wrong(actual)), _) => Ok(Some(actual)),
        (Ok(_), Err(error)) => {
            // Bytes that can't be unpacked would only fail again.
            fetch::drop_partial(inner, &blob.digest).await?;
            Err(error)
        }
        (Ok(Fetched::Complete), Ok(())) => Ok(None),
        (Ok(Fetched::Unread), Ok(())) => Err(Error::internal("unpacking ended early")),
    }
}

/// Unpacks a compressed tar as `layer`, whose digest it must have.
pub(crate) fn unpack_layer(
    inner: &Arc<Inner>,
    layer: &LayerId,
    compressed: impl Read + Send + 'static,
) -> Result<()> {
    let unpacking = Unpacking::begin(inner, layer)?;
    let diff = unpacking.diff();
    let root = File::open(&diff).context(|| format!("open {}", diff.display()))?;
    let mut plain = Hashing { reader: decompress(compressed)?, hash: Sha256::new() };
    let options = UnpackOptions {
        whiteouts: Whiteouts::Overlay,
        root_attributes: true,
        ..UnpackOptions::default()
    };
    let unpacked = unpack(&mut plain, root.as_fd(), Path::new(""), options)?;
    let actual = Digest::from_sha256(plain.hash.finalize());
    // What follows the compressed data still belongs to the blob's digest.
    io::copy(&mut plain.reader.into_inner(), &mut io::sink())
        .context(|| "read layer to its end")?;
    if actual != *layer.diff_id() {
        return Err(Error::internal(format!(
            "wrong diff id calculated on extraction {actual}, the image config has {layer}"
        )));
    }
    unpacking.finish(unpacked.disk_size, &unpacked.implied);
    Ok(())
}

/// What a decompressor reads from.
type Source = BufReader<io::Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>>;

const BUFFER: usize = 128 * 1024;

/// A layer's decompressor, chosen by its first bytes: media types in the wild are not reliable.
pub(crate) enum Decompressor {
    Gzip(Box<flate2::bufread::MultiGzDecoder<Source>>),
    Zstd(zstd::stream::read::Decoder<'static, Source>),
    Plain(Source),
}

/// Decompresses gzip and zstd; anything else comes as it is.
pub(crate) fn decompress(mut reader: impl Read + Send + 'static) -> Result<Decompressor> {
    let mut head = Vec::new();
    (&mut reader).take(4).read_to_end(&mut head).context(|| "read layer")?;
    let is_gzip = head.starts_with(&GZIP_MAGIC);
    let is_zstd = head.starts_with(&ZSTD_MAGIC);
    let reader: Box<dyn Read + Send> = Box::new(reader);
    let source = BufReader::with_capacity(BUFFER, Cursor::new(head).chain(reader));
    if is_gzip {
        let decoder = flate2::bufread::MultiGzDecoder::new(source);
        return Ok(Decompressor::Gzip(Box::new(decoder)));
    }
    if is_zstd {
        let open = || -> io::Result<_> {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Ok(decoder)
        };
        return open().map(Decompressor::Zstd).context(|| "start zstd");
    }
    Ok(Decompressor::Plain(source))
}

impl Decompressor {
    fn into_inner(self) -> Box<dyn Read> {
        match self {
            Self::Gzip(decoder) => Box::new(decoder.into_inner()),
            Self::Zstd(decoder) => Box::new(decoder.finish()),
            Self::Plain(source) => Box::new(source),
        }
    }
}

impl Read for Decompressor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Plain(source) => source.read(buffer),
        }
    }
}

struct Hashing<R> {
    reader: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}
