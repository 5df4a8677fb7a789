//! The statements, in SQL that SQLite and PostgreSQL both take.

/// States of a run that is not over, as a list for `IN`.
macro_rules! open_states {
    () => {
        "('queued', 'collecting', 'storing')"
    };
}

pub(super) const BACKUP_COLUMNS: &str = "b.id, b.run, b.device, b.device_name, b.artefact, b.kind, b.extension, b.size, b.content, b.first_seen, \
     b.last_seen, b.suspect, b.pinned, b.metadata, b.quarantine";

pub(super) const COPY_COLUMNS: &str = "c.destination AS c_destination, c.view AS c_view, c.status AS c_status, c.storage_ref AS c_storage_ref, \
     c.size AS c_size, c.sha256 AS c_sha256, c.attempts AS c_attempts, c.stored_at AS c_stored_at, \
     c.last_seen AS c_last_seen, c.verified_at AS c_verified_at, c.error AS c_error";

pub(super) const RUN_COLUMNS: &str = "id, task_id, task_identifier, attempt, device, device_name, triggered_by, queued_at, started_at, state, \
     collected_at, finished_at, size_before, size_after, artefacts, error, log";

pub(super) const SCHEMA: &str = "SELECT schema, readable_by FROM schema_history ORDER BY schema DESC LIMIT 1";
pub(super) const SCHEMA_APPLIED: &str =
    "INSERT INTO schema_history (schema, readable_by, program, applied_at) VALUES ($1, $2, $3, $4)";

// Runs.

pub(super) const RUN_BEGIN: &str = "INSERT INTO runs (id, task_id, task_identifier, attempt, device, device_name, triggered_by, queued_at, started_at, \
     state, size_before, size_after, artefacts, log, owner) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0, '[]', '[]', $11) \
     ON CONFLICT (task_id) DO NOTHING";
pub(super) const RUN_OF_TASK: &str = "SELECT id, state, owner FROM runs WHERE task_id = $1";
pub(super) const RUN_ADOPT: &str = "UPDATE runs SET owner = $2 WHERE id = $1";
pub(super) const RUN_ADVANCE: &str = concat!("UPDATE runs SET state = $2 WHERE id = $1 AND state IN ", open_states!());
pub(super) const RUN_EXISTS: &str = "SELECT 1 FROM runs WHERE id = $1";
pub(super) const RUN_END: &str = "INSERT INTO runs (id, task_id, task_identifier, attempt, device, device_name, triggered_by, queued_at, started_at, \
     state, collected_at, finished_at, size_before, size_after, artefacts, error, log, owner) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
     ON CONFLICT (id) DO UPDATE SET task_id = excluded.task_id, task_identifier = excluded.task_identifier, \
     attempt = excluded.attempt, device = excluded.device, device_name = excluded.device_name, \
     triggered_by = excluded.triggered_by, queued_at = excluded.queued_at, started_at = excluded.started_at, \
     state = excluded.state, collected_at = excluded.collected_at, finished_at = excluded.finished_at, \
     size_before = excluded.size_before, size_after = excluded.size_after, artefacts = excluded.artefacts, \
     error = excluded.error, log = excluded.log";
pub(super) const OWNERS: &str =
    concat!("SELECT owner FROM runs WHERE state IN ", open_states!(), " UNION SELECT owner FROM leases");
pub(super) const RUNS_INTERRUPTED: &str = concat!(
    "UPDATE runs SET state = 'failed', finished_at = $2, error = $3 WHERE owner = $1 AND state IN ",
    open_states!()
);

// Leases.

pub(super) const LEASE_TAKE: &str = "INSERT INTO leases (device, token, owner, expires) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (device) DO UPDATE SET token = excluded.token, owner = excluded.owner, expires = excluded.expires \
     WHERE leases.expires <= $5 OR leases.token = excluded.token \
     RETURNING token";
pub(super) const LEASE_OWNER: &str = "SELECT owner FROM leases WHERE device = $1";
pub(super) const LEASE_TAKE_OVER: &str =
    "UPDATE leases SET token = $2, owner = $3, expires = $4 WHERE device = $1 AND owner = $5";
pub(super) const LEASE_RENEW: &str = "UPDATE leases SET expires = $3 WHERE device = $1 AND token = $2";
pub(super) const LEASE_RELEASE: &str = "DELETE FROM leases WHERE device = $1 AND token = $2";
pub(super) const LEASES_OF_THE_DEAD: &str = "DELETE FROM leases WHERE owner = $1";

// Backups and copies.

// What is known of a backup stays: its owner may have pinned or annotated it since.
pub(super) const BACKUP_PUT: &str = "INSERT INTO backups (id, run, device, device_name, artefact, kind, extension, size, content, first_seen, last_seen, \
     suspect, pinned, metadata, quarantine) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
     ON CONFLICT (id) DO UPDATE SET last_seen = excluded.last_seen WHERE backups.last_seen < excluded.last_seen";
// A late or repeated report neither takes a good copy back nor undoes what was found of it since:
// pending and failed do not replace stored, and the same storing told again changes nothing.
pub(super) const COPY_PUT: &str = "INSERT INTO copies (backup, destination, view, status, storage_ref, size, sha256, attempts, stored_at, last_seen, \
     verified_at, error, first_seen) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, (SELECT first_seen FROM backups WHERE id = $1)) \
     ON CONFLICT (backup, destination) DO UPDATE SET view = excluded.view, status = excluded.status, \
     storage_ref = excluded.storage_ref, size = excluded.size, sha256 = excluded.sha256, \
     attempts = excluded.attempts, stored_at = excluded.stored_at, \
     last_seen = CASE WHEN copies.last_seen > excluded.last_seen THEN copies.last_seen ELSE excluded.last_seen END, \
     verified_at = excluded.verified_at, error = excluded.error \
     WHERE NOT (copies.status IN ('stored', 'extended') AND excluded.status IN ('pending', 'failed')) \
     AND NOT (copies.status NOT IN ('pending', 'failed') AND copies.stored_at = excluded.stored_at \
     AND copies.storage_ref IS NOT DISTINCT FROM excluded.storage_ref)";
pub(super) const BACKUP_SEEN: &str =
    "UPDATE backups SET last_seen = CASE WHEN last_seen < $2 THEN $2 ELSE last_seen END WHERE id = $1";
pub(super) const COPY_SEEN: &str =
    "UPDATE copies SET last_seen = $3 WHERE backup = $1 AND destination = $2 AND last_seen < $3";
pub(super) const COPY_GOOD: &str = "UPDATE copies SET verified_at = $3, \
     status = CASE WHEN status = 'damaged' THEN 'stored' ELSE status END, \
     error = CASE WHEN status = 'damaged' THEN NULL ELSE error END \
     WHERE backup = $1 AND destination = $2";
pub(super) const COPY_DAMAGED: &str = "UPDATE copies SET error = $3, \
     status = CASE WHEN status IN ('stored', 'extended') THEN 'damaged' ELSE status END \
     WHERE backup = $1 AND destination = $2";
pub(super) const COPIES_MARK: &str = "UPDATE copies SET status = 'marked' WHERE destination = $1 AND storage_ref = $2";
pub(super) const BACKUP_PIN: &str = "UPDATE backups SET pinned = $2 WHERE id = $1";
pub(super) const BACKUP_ACCEPT: &str = "UPDATE backups SET suspect = NULL, \
     quarantine = CASE WHEN quarantine IS NULL THEN NULL ELSE 'released' END WHERE id = $1";
pub(super) const COPIES_FORGET: &str =
    "DELETE FROM copies WHERE destination = $1 AND storage_ref = $2 RETURNING backup";
pub(super) const BACKUP_WITHOUT_COPIES: &str =
    "DELETE FROM backups WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM copies WHERE backup = $1)";
pub(super) const PENDING: &str = "SELECT c.backup, b.run, c.destination, c.attempts FROM copies c JOIN backups b ON b.id = c.backup \
     WHERE c.status = 'pending' ORDER BY c.first_seen, c.backup, c.destination";

// The inventory.

pub(super) const DEVICE_PUT: &str = "INSERT INTO devices (id, name, platform, site, grp, enabled, detail) VALUES ($1, $2, $3, $4, $5, $6, $7) \
     ON CONFLICT (id) DO UPDATE SET name = excluded.name, platform = excluded.platform, site = excluded.site, \
     grp = excluded.grp, enabled = excluded.enabled, detail = excluded.detail";
pub(super) const DEVICE_REMOVE: &str = "DELETE FROM devices WHERE id = $1";
pub(super) const DEVICE_NAMED: &str = "SELECT detail FROM devices WHERE name = $1";
pub(super) const DESTINATION_PUT: &str = "INSERT INTO destinations (id, name, detail) VALUES ($1, $2, $3) \
     ON CONFLICT (id) DO UPDATE SET name = excluded.name, detail = excluded.detail";
pub(super) const DESTINATION_REMOVE: &str = "DELETE FROM destinations WHERE id = $1";
pub(super) const DESTINATIONS: &str = "SELECT detail FROM destinations";
pub(super) const CREDENTIAL_PUT: &str = "INSERT INTO credentials (name, detail, sealed) VALUES ($1, $2, $3) \
     ON CONFLICT (name) DO UPDATE SET detail = excluded.detail, sealed = excluded.sealed";
pub(super) const CREDENTIAL_REMOVE: &str = "DELETE FROM credentials WHERE name = $1";
pub(super) const CREDENTIALS: &str = "SELECT detail, sealed FROM credentials";
pub(super) const POLICY_PUT: &str = "INSERT INTO policies (name, detail) VALUES ($1, $2) \
     ON CONFLICT (name) DO UPDATE SET detail = excluded.detail";
pub(super) const POLICY_REMOVE: &str = "DELETE FROM policies WHERE name = $1";
pub(super) const POLICIES: &str = "SELECT detail FROM policies";
