-- Sets that are still to come after an absence. `kind`: 1 of an hour, 2 of a day.
CREATE TABLE wanted_sets (
    mailbox BLOB NOT NULL,
    kind    INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (mailbox, kind, number)
) STRICT, WITHOUT ROWID;
