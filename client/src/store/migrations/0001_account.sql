-- The account, the people one writes to, what libsignal keeps, and the history.
-- Times are milliseconds since the Unix epoch. Keys are raw bytes. STRICT, so that a wrong type is an error, not a surprise.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One row. `identity` is libsignal's serialized key pair; the certificate is signed by the identity itself.
CREATE TABLE account (
    id                     INTEGER PRIMARY KEY CHECK (id = 1),
    identity               BLOB    NOT NULL,
    registration_id        INTEGER NOT NULL,
    certificate            BLOB    NOT NULL,
    certificate_expires_ms INTEGER NOT NULL,
    name                   TEXT    NOT NULL,
    network_id             BLOB    NOT NULL CHECK (length(network_id) = 32),
    created_ms             INTEGER NOT NULL
) STRICT;

-- `peer_identity` is NULL until the peer's identity is pinned, and never changes afterwards.
-- AUTOINCREMENT: the id is the session's local address, so it is never given to someone else.
CREATE TABLE contacts (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL UNIQUE COLLATE NOCASE,
    peer_identity BLOB    CHECK (peer_identity IS NULL OR length(peer_identity) = 32),
    verified      INTEGER NOT NULL DEFAULT 0 CHECK (verified IN (0, 1)),
    state         INTEGER NOT NULL,
    created_ms    INTEGER NOT NULL
) STRICT;
CREATE INDEX contacts_by_identity ON contacts (peer_identity);

-- A set is what one bundle hands out: a one-time key, a signed key, a Kyber key, under one id.
-- `contact` is NULL for an invitation, whose user is not known yet.
CREATE TABLE prekey_sets (
    id         INTEGER PRIMARY KEY,
    contact    INTEGER REFERENCES contacts (id) ON DELETE CASCADE,
    one_time   BLOB,
    signed     BLOB    NOT NULL,
    kyber      BLOB    NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    contact INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    device  INTEGER NOT NULL,
    record  BLOB    NOT NULL,
    PRIMARY KEY (contact, device)
) STRICT, WITHOUT ROWID;

-- A file that was received or is being sent, in pieces of `piece_size` bytes, so that it resumes.
CREATE TABLE files (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    size       INTEGER NOT NULL,
    piece_size INTEGER NOT NULL CHECK (piece_size > 0),
    pieces     INTEGER NOT NULL,
    sha256     BLOB    NOT NULL CHECK (length(sha256) = 32)
) STRICT;

CREATE TABLE file_pieces (
    file   INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    bytes  BLOB    NOT NULL,
    PRIMARY KEY (file, number)
) STRICT, WITHOUT ROWID;

-- `uuid` is drawn by the sender, so it is unique per contact and direction only: a contact that repeats the id of
-- someone else's message must not be able to hide it.
CREATE TABLE messages (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid       BLOB    NOT NULL CHECK (length(uuid) = 16),
    contact    INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    direction  INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    media_type TEXT    NOT NULL,
    text       TEXT,
    name       TEXT,
    size       INTEGER,
    body       BLOB,
    file       INTEGER REFERENCES files (id),
    at_ms      INTEGER NOT NULL,
    reason     TEXT,
    UNIQUE (contact, direction, uuid)
) STRICT;
CREATE INDEX messages_by_state ON messages (direction, state);
