-- What was seen in a month, for the records of sightings that destinations keep.

CREATE INDEX backups_seen ON backups (last_seen, id);
