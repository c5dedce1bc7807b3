//! The embedded files.

use crate::stdx::hex::hex;
use axum::body::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::{
    borrow::Cow,
    collections::HashMap,
    io::Write,
    sync::{LazyLock, OnceLock},
};

/// The page itself.
pub const INDEX: &str = "index.html";

/// Shorter files, and those of other types, gain nothing.
const COMPRESSED_BYTES_MIN: usize = 1024;

#[derive(rust_embed::Embed)]
#[folder = "assets/ui"]
struct Embedded;

/// One file.
pub struct Asset {
    pub content_type: &'static str,
    /// Changes with the content; quoted, as it stands in a header.
    pub tag: String,
    pub bytes: Bytes,
    gzip: OnceLock<Option<Bytes>>,
}

impl Asset {
    /// Compressed as well as it goes, at the first call; `None` where that gains nothing.
    pub fn gzip(&self) -> Option<Bytes> {
        self.gzip.get_or_init(|| compress(self.content_type, &self.bytes)).clone()
    }
}

static ASSETS: LazyLock<HashMap<Cow<'static, str>, Asset>> = LazyLock::new(|| {
    let load = |path: Cow<'static, str>| {
        let file = Embedded::get(&path)?;
        let hash = file.metadata.sha256_hash();
        let tag = format!("\"{}\"", hex(&hash[..12]));
        let bytes = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        let asset = Asset { content_type: content_type(&path), tag, bytes, gzip: OnceLock::new() };
        Some((path, asset))
    };
    Embedded::iter().filter_map(load).collect()
});

/// The file at a path below `assets/ui`.
pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.get(path)
}

/// What the build makes; anything else is bytes, which `nosniff` keeps from being more.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "txt" => "text/plain; charset=utf-8",
        "json" => "application/json",
        _ => "application/octet-stream",
    }
}

fn compress(content_type: &str, bytes: &[u8]) -> Option<Bytes> {
    let text = content_type.starts_with("text/") || content_type == "image/svg+xml" || content_type.ends_with("json");
    if !text || bytes.len() < COMPRESSED_BYTES_MIN {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), Compression::best());
    // Writing to memory cannot fail; if it did, the file would go out as it is.
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().filter(|packed| packed.len() < bytes.len()).map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_the_page_names_is_there() {
        let index = find(INDEX).expect("the page is built");
        let text = std::str::from_utf8(&index.bytes).unwrap();
        let named: Vec<&str> = text.split("\"./").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(named.iter().any(|path| path.ends_with(".js")) && named.iter().any(|path| path.ends_with(".css")));
        for path in named.iter().filter(|path| !path.is_empty()) {
            assert!(find(path).is_some(), "{path}");
        }
    }

    #[test]
    fn every_file_has_a_type_and_a_tag_of_its_own() {
        let mut tags: Vec<&str> = ASSETS.values().map(|asset| asset.tag.as_str()).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), ASSETS.len());
        for (path, asset) in ASSETS.iter() {
            assert_ne!(asset.content_type, "application/octet-stream", "{path}");
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        let index = find(INDEX).expect("the page is built");
        let text = std::str::from_utf8(&index.bytes).unwrap();
        assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("\"//"), "{text}");
    }
}
