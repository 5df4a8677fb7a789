-- Times are microseconds since 1970 in UTC, identifiers UUIDv7 as 16 bytes, digests 32 bytes,
-- lists and maps JSON. A backup that is not suspect has NULL there.

CREATE TABLE schema_history (
    schema      INTEGER PRIMARY KEY,
    readable_by INTEGER NOT NULL,
    program     TEXT    NOT NULL,
    applied_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE runs (
    id              BLOB    NOT NULL UNIQUE,
    task_id         BLOB    NOT NULL UNIQUE,
    task_identifier TEXT    NOT NULL,
    attempt         INTEGER NOT NULL,
    device          TEXT    NOT NULL,
    device_name     TEXT    NOT NULL,
    triggered_by    TEXT    NOT NULL,
    queued_at       INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    state           TEXT    NOT NULL,
    collected_at    INTEGER,
    finished_at     INTEGER,
    size_before     INTEGER NOT NULL,
    size_after      INTEGER NOT NULL,
    artefacts       TEXT    NOT NULL,
    error           TEXT,
    log             TEXT    NOT NULL,
    owner           BLOB    NOT NULL
) STRICT;

CREATE INDEX runs_newest ON runs (started_at, id);
CREATE INDEX runs_by_device ON runs (device, started_at, id);
CREATE INDEX runs_by_job ON runs (task_identifier, started_at, id);
CREATE INDEX runs_by_state ON runs (state, started_at, id);

CREATE TABLE backups (
    id          BLOB    NOT NULL PRIMARY KEY,
    run         BLOB    NOT NULL,
    device      TEXT    NOT NULL,
    device_name TEXT    NOT NULL,
    artefact    TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    extension   TEXT    NOT NULL,
    size        INTEGER NOT NULL,
    content     BLOB    NOT NULL,
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    suspect     TEXT,
    pinned      INTEGER NOT NULL,
    metadata    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX backups_newest ON backups (first_seen, id);
CREATE INDEX backups_by_device ON backups (device, first_seen, id);
CREATE INDEX backups_history ON backups (device, artefact, first_seen, id);
CREATE INDEX backups_by_artefact ON backups (artefact, first_seen, id);
CREATE INDEX backups_suspect ON backups (device, artefact, first_seen, id) WHERE suspect IS NOT NULL;
CREATE INDEX backups_by_run ON backups (run, first_seen, id);

-- first_seen is the backup's, which never changes: it orders a destination's copies without a look at the backup.
CREATE TABLE copies (
    backup      BLOB    NOT NULL REFERENCES backups (id) ON DELETE CASCADE,
    destination TEXT    NOT NULL,
    view        TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    storage_ref TEXT,
    size        INTEGER NOT NULL,
    sha256      BLOB    NOT NULL,
    attempts    INTEGER NOT NULL,
    stored_at   INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    verified_at INTEGER,
    error       TEXT,
    first_seen  INTEGER NOT NULL,
    PRIMARY KEY (backup, destination)
) STRICT, WITHOUT ROWID;

CREATE INDEX copies_by_destination ON copies (destination, first_seen, backup);
CREATE INDEX copies_by_ref ON copies (destination, storage_ref);
CREATE INDEX copies_pending ON copies (first_seen, backup) WHERE status = 'pending';

CREATE TABLE leases (
    device  TEXT    NOT NULL PRIMARY KEY,
    token   BLOB    NOT NULL,
    owner   BLOB    NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    id       TEXT    NOT NULL PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    platform TEXT    NOT NULL,
    site     TEXT,
    grp      TEXT,
    enabled  INTEGER NOT NULL,
    detail   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX devices_by_site ON devices (site);
CREATE INDEX devices_by_group ON devices (grp);
CREATE INDEX devices_by_platform ON devices (platform);

CREATE TABLE destinations (
    id     TEXT NOT NULL PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;
