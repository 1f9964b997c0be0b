-- Looking up what mailboxes have signed for. `audit_ms`: when the box is asked for next; NULL: it is not looked up.
ALTER TABLE outbox ADD COLUMN audit_ms INTEGER;
ALTER TABLE outbox ADD COLUMN audit_holder BLOB CHECK (audit_holder IS NULL OR length(audit_holder) = 32);
ALTER TABLE outbox ADD COLUMN audit_tries INTEGER NOT NULL DEFAULT 0;
-- Nobody can have acknowledged it.
ALTER TABLE outbox ADD COLUMN audit_strict INTEGER NOT NULL DEFAULT 0;

-- Broken words of mailboxes. what: 0 it does not have the box, 1 it says that the box was acknowledged, which nobody did,
-- 2 it hands out other bytes, 3 it does not answer. `receipt`: its signature, with those of the others.
CREATE TABLE faults (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    mailbox BLOB    NOT NULL CHECK (length(mailbox) = 32),
    what    INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    box_id  BLOB    NOT NULL CHECK (length(box_id) = 32),
    content BLOB    NOT NULL CHECK (length(content) = 32),
    receipt BLOB    NOT NULL
) STRICT;
