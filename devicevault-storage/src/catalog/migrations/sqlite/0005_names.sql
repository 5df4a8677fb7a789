-- Which devices had a name: one that was removed keeps its versions when another takes its name.

CREATE INDEX backups_by_name ON backups (device_name);
