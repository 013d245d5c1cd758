-- The same statements run on SQLite and PostgreSQL. The type keytext is text
-- that compares byte by byte: a domain on PostgreSQL, and on SQLite simply a
-- name with text affinity. Times are microseconds since 1970, UTC.

-- +goose Up

-- One row: its value is the number of the last change. Every writer updates it
-- first, and so writers go one after the other.
CREATE TABLE counter (
    id    BIGINT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counter (id, value) VALUES (1, 0);

CREATE TABLE resources (
    workspace   keytext NOT NULL, -- the four key columns are folded
    kind        keytext NOT NULL,
    name        keytext NOT NULL,
    version     keytext NOT NULL, -- '' for kinds without versions
    body        TEXT    NOT NULL, -- JSON
    generation  BIGINT  NOT NULL,
    change      BIGINT  NOT NULL, -- of the last write
    born        BIGINT  NOT NULL, -- the change that created it
    created_at  BIGINT  NOT NULL,
    created_by  TEXT    NOT NULL,
    modified_at BIGINT  NOT NULL,
    modified_by TEXT    NOT NULL,
    PRIMARY KEY (workspace, kind, name, version)
);
-- Lists go by these: of one workspace, of all, and newest first.
CREATE INDEX resources_by_name ON resources (workspace, kind, name, born, version);
CREATE INDEX resources_by_kind ON resources (kind, name, born, workspace, version);
CREATE INDEX resources_by_birth ON resources (workspace, kind, born, name, version);

CREATE TABLE history (
    workspace    keytext NOT NULL,
    kind         keytext NOT NULL,
    name         keytext NOT NULL,
    version      keytext NOT NULL,
    change       BIGINT  NOT NULL,
    at           BIGINT  NOT NULL,
    verb         TEXT    NOT NULL,
    generation   BIGINT  NOT NULL,
    actor_name   TEXT    NOT NULL,
    actor_from   TEXT    NOT NULL,
    actor_client TEXT    NOT NULL,
    shown_key    TEXT    NOT NULL, -- JSON, the key as it was written
    diff         TEXT    NOT NULL, -- JSON
    PRIMARY KEY (workspace, kind, name, version, change)
);

CREATE TABLE leases (
    name    keytext NOT NULL PRIMARY KEY,
    holder  TEXT    NOT NULL,
    epoch   BIGINT  NOT NULL,
    expires BIGINT  NOT NULL
);
