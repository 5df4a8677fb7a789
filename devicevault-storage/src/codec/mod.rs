//! Streaming compression and decompression.
