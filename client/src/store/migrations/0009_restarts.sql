-- Conversations that began anew because one side's store is older than what it has sent (a backup that was put back).
-- The last restart that a contact and we know of: when, by the clock of who began it, and its message's id.
ALTER TABLE contacts ADD COLUMN restarted_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE contacts ADD COLUMN restarted BLOB CHECK (restarted IS NULL OR length(restarted) = 16);
-- A contact's stream from before a restart: read as long as its boxes live, without a place among the pair's positions.
ALTER TABLE streams ADD COLUMN former INTEGER NOT NULL DEFAULT 0;
-- Restarts of ours that the contact has not confirmed. `message`: what is said, with the roots of both new streams. `sealed`:
-- under a session from the contact's newest prekeys, once there are any.
CREATE TABLE restarts (
    contact INTEGER PRIMARY KEY REFERENCES contacts (id) ON DELETE CASCADE,
    message BLOB NOT NULL,
    sealed  BLOB
) STRICT;
-- How often a mailbox said of this box that something else lies in its place.
ALTER TABLE outbox ADD COLUMN conflicts INTEGER NOT NULL DEFAULT 0;
