//! How much foreign input may cost, in one place.

use std::time::Duration;

/// Bounds on what one image may make this machine do.
///
/// The defaults let every ordinary image through and stop archives that were made to exhaust
/// memory, disk or time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Unpacked bytes of one layer, padding and headers included.
    pub layer_bytes: u64,
    /// Entries of one layer.
    pub layer_entries: u64,
    /// Directories of one layer (each is remembered until the end).
    pub layer_directories: u64,
    /// Unpacked bytes for each packed byte, judged once more than [`Limits::ratio_from`] came out.
    pub ratio: u64,
    /// Below this many unpacked bytes the ratio does not matter.
    pub ratio_from: u64,
    /// Bytes of one path.
    pub path_bytes: usize,
    /// Parts of one path.
    pub path_depth: usize,
    /// Bytes of one extended header (long names, extended attributes).
    pub header_bytes: u64,
    /// Time to unpack one layer.
    pub layer_time: Duration,
    /// Bytes of a manifest, an index or an image configuration.
    pub document_bytes: u64,
    /// Layers of one image; overlayfs itself stops at 500.
    pub layers: usize,
    /// Manifests of one index.
    pub index_entries: usize,
    /// Packed bytes of one layer.
    pub blob_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layer_bytes: 64 << 30,
            layer_entries: 2_000_000,
            layer_directories: 500_000,
            ratio: 200,
            ratio_from: 256 << 20,
            path_bytes: 4000,
            path_depth: 256,
            header_bytes: 1 << 20,
            layer_time: Duration::from_secs(30 * 60),
            document_bytes: 4 << 20,
            layers: 500,
            index_entries: 1024,
            blob_bytes: 64 << 30,
        }
    }
}
