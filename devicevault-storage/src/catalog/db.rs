//! The database that the SQL around here is run on, named once.

pub(super) use sqlx::Sqlite as Db;
pub(super) use sqlx::SqliteConnection as Connection;
pub(super) use sqlx::sqlite::SqliteRow as Row;

pub(super) use super::sqlite::context::Context;
pub(super) use super::sqlite::fault::Fault;
