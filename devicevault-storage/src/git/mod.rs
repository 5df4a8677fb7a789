//! Text backups as commits in a bare repository.
