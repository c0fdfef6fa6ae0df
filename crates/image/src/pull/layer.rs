//! One layer in one pass: network → SHA-256 → inflate → SHA-256 → untar → disk.
//!
//! The network side hashes the compressed bytes and feeds a blocking thread that does the rest
//! through a bounded channel. The thread takes the end for real only when the network side says
//! that the digest was right.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use davit_types::{Context as _, Digest, Error, Result};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};

use super::fetch::{self, Fetched};
use super::share::Stage;
use super::stream::ChunkReader;
use crate::archive::{UnpackOptions, Whiteouts, unpack};
use crate::image::{Descriptor, LayerId};
use crate::registry::Registry;
use crate::store::{Inner, LayerPins, Unpacking};

/// Chunks between network and disk; one is at most a few hundred KiB.
const CHUNKS: usize = 16;
/// 128 MiB, what zstd itself allows by default.
const ZSTD_WINDOW_LOG: u32 = 27;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Gets `blob` and unpacks it as `layer`. Ends early when nobody listens to `stages` any more.
pub(super) async fn download(
    inner: &Arc<Inner>,
    registry: &Registry,
    layer: &LayerId,
    blob: &Descriptor,
    stages: &watch::Sender<Stage>,
) -> Result<()> {
    let permit = inner.downloads.permits.acquire().await;
    let pins = LayerPins::new(inner, std::slice::from_ref(layer));
    let (chunks, received) = mpsc::channel(CHUNKS);
    let work = {
        let (inner, layer) = (Arc::clone(inner), layer.clone());
        tokio::task::spawn_blocking(move || {
            unpack_layer(&inner, &layer, ChunkReader::new(received))
        })
    };
    let fetched = tokio::select! {
        fetched = fetch::fetch(registry, blob, stages, chunks) => fetched,
        () = stages.closed() => Err(Error::internal("download cancelled")),
    };
    drop(permit);
    let unpacked = work.await.context(|| "unpack thread")?;
    drop(pins);
    // A wrong digest explains a broken archive; a closed channel is explained by it.
    match (fetched, unpacked) {
        (Err(error), _) => Err(error),
        (Ok(_), Err(error)) => Err(error),
        (Ok(Fetched::Complete), Ok(())) => Ok(()),
        (Ok(Fetched::Unread), Ok(())) => Err(Error::internal("unpacking ended early")),
    }
    .context(|| format!("failed to pull layer {}", blob.digest))
}

fn unpack_layer(inner: &Arc<Inner>, layer: &LayerId, chunks: ChunkReader) -> Result<()> {
    let unpacking = Unpacking::begin(inner, layer)?;
    let diff = unpacking.diff();
    let root = File::open(&diff).context(|| format!("open {}", diff.display()))?;
    let mut plain = Hashing { reader: decompress(chunks)?, hash: Sha256::new() };
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
    unpacking.finish(unpacked.disk_size);
    Ok(())
}

type Source = io::Chain<Cursor<Vec<u8>>, ChunkReader>;

/// A layer's decompressor, chosen by its first bytes: media types in the wild are not reliable.
enum Decompressor {
    Gzip(Box<flate2::bufread::MultiGzDecoder<Source>>),
    Zstd(zstd::stream::read::Decoder<'static, Source>),
    Plain(Source),
}

fn decompress(mut chunks: ChunkReader) -> Result<Decompressor> {
    let mut head = Vec::new();
    (&mut chunks).take(4).read_to_end(&mut head).context(|| "read layer")?;
    let is_gzip = head.starts_with(&GZIP_MAGIC);
    let is_zstd = head.starts_with(&ZSTD_MAGIC);
    let source = Cursor::new(head).chain(chunks);
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
