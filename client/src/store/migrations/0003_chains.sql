-- Where a contact's ratchet turned in the stream of its messages: the first box of each receiving chain that was opened.
-- As many of the newest are kept as are needed to see which holes a further turn would close for good.
CREATE TABLE chains (
    stream    INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    box_index INTEGER NOT NULL,
    PRIMARY KEY (stream, box_index)
) STRICT, WITHOUT ROWID;

-- Parts of messages that are not whole, and whole ones that wait: few among thousands of rows.
CREATE INDEX fetches_kept ON fetches (stream, box_index) WHERE content IS NOT NULL;
