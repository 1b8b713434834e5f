-- People, and what lets them in.
CREATE TABLE account (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE COLLATE NOCASE,
    role         TEXT NOT NULL CHECK (role IN ('owner', 'policy', 'operator', 'viewer', 'certifier')),
    password     TEXT,                    -- argon2id; NULL until the person has chosen one
    enabled      INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    created_at   INTEGER NOT NULL,        -- Unix seconds, here and everywhere
    signed_in_at INTEGER
) STRICT;
CREATE TABLE session (
    hash       BLOB PRIMARY KEY CHECK (length(hash) = 32),   -- of the cookie: who reads this file cannot sign in with it
    account    INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE code (
    hash       BLOB PRIMARY KEY CHECK (length(hash) = 32),
    purpose    TEXT NOT NULL CHECK (purpose IN ('owner', 'account', 'claim')),
    account    INTEGER REFERENCES account (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL,
    gateway    INTEGER REFERENCES gateway (id)               -- which one has used it
) WITHOUT ROWID, STRICT;
CREATE TABLE failure (
    subject BLOB NOT NULL CHECK (length(subject) = 32),
    at      INTEGER NOT NULL
) STRICT;
CREATE INDEX failure_by_subject ON failure (subject, at);
CREATE INDEX failure_by_time ON failure (at);

-- Who did what. Each entry's hash covers the one before.
CREATE TABLE audit (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    who     TEXT NOT NULL,
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,
    before  TEXT,
    after   TEXT,
    hash    BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- The policy: one draft, and generations that never change.
CREATE TABLE draft (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    text TEXT NOT NULL,
    who  TEXT NOT NULL,
    at   INTEGER NOT NULL
) STRICT;
CREATE TABLE generation (
    number  INTEGER PRIMARY KEY,
    digest  TEXT NOT NULL UNIQUE CHECK (length(digest) = 64),  -- of the compiled file, which has this name
    text    TEXT NOT NULL,
    inputs  TEXT NOT NULL,                                     -- JSON: the files its lists were read from
    lists   TEXT NOT NULL,                                     -- JSON: what they gave
    note    TEXT NOT NULL,
    who     TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT;

-- Gateways.
CREATE TABLE gateway (
    id         INTEGER PRIMARY KEY,
    key        BLOB NOT NULL UNIQUE CHECK (length(key) = 32),
    site       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'refused', 'quarantined', 'revoked')),
    why        TEXT NOT NULL DEFAULT '',  -- of the state, in words
    alarm      TEXT NOT NULL DEFAULT '',  -- what is suspicious without being a proof
    claimed_at INTEGER NOT NULL,
    boot       TEXT NOT NULL,
    sequence   INTEGER NOT NULL,
    signature  BLOB NOT NULL,             -- of the last request
    repeats    INTEGER NOT NULL DEFAULT 0,
    seen_at    INTEGER,
    report     TEXT                       -- JSON: the last one
) STRICT;
CREATE TABLE boot (
    gateway INTEGER NOT NULL REFERENCES gateway (id),
    boot    TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (gateway, boot)
) WITHOUT ROWID, STRICT;
CREATE TABLE hour (
    gateway  INTEGER NOT NULL REFERENCES gateway (id),
    hour     INTEGER NOT NULL,            -- Unix hours
    reports  INTEGER NOT NULL,
    open     INTEGER NOT NULL,            -- of these, how many said open
    troubles INTEGER NOT NULL,            -- the most that one report told of
    PRIMARY KEY (gateway, hour)
) WITHOUT ROWID, STRICT;
