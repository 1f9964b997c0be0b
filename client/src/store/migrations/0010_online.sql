-- The clock of time online (`core::online`) at which a box came whose content is kept, because its message is not whole or
-- waits for earlier ones. What waits since before there was this clock waits from the clock's beginning on.
ALTER TABLE fetches ADD COLUMN kept_ms INTEGER NOT NULL DEFAULT 0;

-- At which of the pair's positions a message of a contact came, so that it is receipted again if its sender still waits for that.
ALTER TABLE messages ADD COLUMN position INTEGER;
CREATE INDEX messages_by_position ON messages (contact, position) WHERE position IS NOT NULL;
