-- Streams whose boxes are numbered by days: index = day - first_day. `due_ms`: when the next one is sealed (those we write).
CREATE TABLE beacons (
    stream    INTEGER PRIMARY KEY REFERENCES streams (id) ON DELETE CASCADE,
    first_day INTEGER NOT NULL,
    due_ms    INTEGER
) STRICT;

-- Boxes of message streams that mailboxes have signed for, that are not expired, and whose reader has not receipted them.
CREATE TABLE on_mailboxes (
    stream     INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    box_index  INTEGER NOT NULL,
    expiry_day INTEGER NOT NULL,
    PRIMARY KEY (stream, box_index)
) STRICT, WITHOUT ROWID;
