-- Streams of boxes, what waits to be sent, what waits to be fetched, and the digests of the last day.

-- kind: 0 messages to a contact, 1 messages from a contact, 2 a file to a contact, 3 a file from a contact,
--       4 decoys, 5 an invitation's offer (ours), 6 its answer (to us), 7 an offer (theirs), 8 our answer.
CREATE TABLE streams (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    kind      INTEGER NOT NULL,
    contact   INTEGER REFERENCES contacts (id) ON DELETE CASCADE,
    message   INTEGER REFERENCES messages (id) ON DELETE CASCADE,
    write_cap BLOB,
    -- At the lowest index that has not been read.
    read_cap  BLOB,
    -- How many boxes there are, where that is known.
    boxes     INTEGER,
    -- Boxes below this are on the reader's device (files).
    progress  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX streams_by_contact ON streams (contact, kind);

-- Boxes that we write. `next_ms`: when the next copy is due; NULL before the first sending and after the last.
CREATE TABLE outbox (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    stream    INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    box_index INTEGER NOT NULL,
    message   INTEGER REFERENCES messages (id) ON DELETE CASCADE,
    sealed    BLOB    NOT NULL,
    planned   INTEGER NOT NULL,
    sends     INTEGER NOT NULL DEFAULT 0,
    stored    INTEGER NOT NULL DEFAULT 0,
    next_ms   INTEGER,
    -- The receipt: which mailboxes signed, kept as evidence.
    receipt   BLOB,
    UNIQUE (stream, box_index)
) STRICT;
CREATE INDEX outbox_by_message ON outbox (message);

-- Boxes that we read: named by a digest (`seen_ms`), or decoys of our own that wait to be named.
CREATE TABLE fetches (
    stream     INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    box_index  INTEGER NOT NULL,
    box_id     BLOB    NOT NULL CHECK (length(box_id) = 32),
    ack_secret BLOB    NOT NULL CHECK (length(ack_secret) = 32),
    -- Decoys: how long after its digest the box is fetched, and whether it is never acknowledged.
    absence_ms INTEGER NOT NULL DEFAULT 0,
    unacked    INTEGER NOT NULL DEFAULT 0,
    seen_ms    INTEGER,
    due_ms     INTEGER,
    asked      INTEGER NOT NULL DEFAULT 0,
    done       INTEGER NOT NULL DEFAULT 0,
    -- Opened content of a part whose message is not whole yet.
    content    BLOB,
    PRIMARY KEY (stream, box_index)
) STRICT, WITHOUT ROWID;

-- `previous` shows at the next start where the chain has holes that were asked for and not yet filled.
CREATE TABLE digests (
    mailbox  BLOB    NOT NULL CHECK (length(mailbox) = 32),
    tick     INTEGER NOT NULL,
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),
    previous BLOB    NOT NULL CHECK (length(previous) = 32),
    tags     BLOB    NOT NULL,
    PRIMARY KEY (mailbox, tick)
) STRICT, WITHOUT ROWID;

-- Invitations that we made.
CREATE TABLE invitations (
    contact    INTEGER PRIMARY KEY REFERENCES contacts (id) ON DELETE CASCADE,
    link       BLOB    NOT NULL,
    -- A prekey set of libsignal, gone once used.
    prekeys    INTEGER NOT NULL,
    -- The name was chosen by us, so the answer's profile does not change it.
    named      INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

-- Receipts that wait to be sent.
CREATE TABLE receipts (
    contact INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    uuid    BLOB    NOT NULL CHECK (length(uuid) = 16),
    due_ms  INTEGER NOT NULL,
    PRIMARY KEY (contact, uuid)
) STRICT, WITHOUT ROWID;
