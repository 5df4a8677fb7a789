//! The engine, from outside: in-memory catalog and backends, collectors that do as they are told.

#![allow(clippy::unwrap_used, reason = "tests")]

mod absent;
mod doubles;
mod every_call;
mod failures;
mod fleet;
mod limits;
mod parking;
mod quarantine;
mod quotas;
mod rebuild;
mod repair;
mod retention;
mod sampling;
mod storing;
mod suspect;
