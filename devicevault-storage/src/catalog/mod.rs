//! The catalog and the inventory in one SQLite file.
