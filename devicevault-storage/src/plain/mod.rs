//! Backups as files that a person can browse.
