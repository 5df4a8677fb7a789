//! Tests of the storage crate from outside.
