-- Backups that broke a file rule: 'held', or 'released' by a person. One that is held is suspect as well, so that programs
-- of before keep it from being a reference.

ALTER TABLE backups ADD COLUMN quarantine TEXT;

CREATE INDEX backups_quarantine ON backups (first_seen, id) WHERE quarantine = 'held';
