-- Streams of messages follow one another. `number` counts those of a contact and direction; positions run on through them:
-- `base` is that of box 0. `boxes` of such a stream is known once its successor is; `ended_ms`: since when.
ALTER TABLE streams ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN base INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN ended_ms INTEGER;
UPDATE streams SET created_ms =
    coalesce((SELECT c.created_ms FROM contacts c WHERE c.id = streams.contact), 0);

-- Our streams whose reader has not receipted yet that it knows them. `sealed`: the message that names them, as it lies in the
-- last box of the stream before, so that a beacon can carry it too.
CREATE TABLE successors (
    stream INTEGER PRIMARY KEY REFERENCES streams (id) ON DELETE CASCADE,
    uuid   BLOB NOT NULL CHECK (length(uuid) = 16),
    sealed BLOB NOT NULL
) STRICT;

-- Where a contact's ratchet turned, now by position, since a chain may begin in one stream and go on in the next.
-- `waited`: boxes below this position have been waited for.
ALTER TABLE contacts ADD COLUMN waited INTEGER NOT NULL DEFAULT 0;
UPDATE contacts SET waited =
    coalesce((SELECT max(s.progress) FROM streams s WHERE s.contact = contacts.id AND s.kind = 1), 0);
CREATE TABLE beginnings (
    contact  INTEGER NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    PRIMARY KEY (contact, position)
) STRICT, WITHOUT ROWID;
INSERT INTO beginnings (contact, position)
    SELECT s.contact, c.box_index FROM chains c JOIN streams s ON s.id = c.stream WHERE s.contact IS NOT NULL;
DROP TABLE chains;

-- Messages of ours that are not sealed yet, because too many before them are not receipted. Their rows in the history hold all
-- that is to be sent.
CREATE TABLE waiting (
    message INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE
) STRICT;
