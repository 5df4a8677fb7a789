-- Shared logins and policies, by name. What is in "sealed" was sealed before it came here; detail is JSON without secrets.

CREATE TABLE credentials (
    name   TEXT NOT NULL PRIMARY KEY,
    detail TEXT NOT NULL,
    sealed BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (
    name   TEXT NOT NULL PRIMARY KEY,
    detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;
