-- Boxes that are renewed until their reader has receipted them. `renewal`: the box's blinding factor, which signs it again
-- together with its stream's key; gone with the row. `renew_ms`: when that is due; NULL: never.
ALTER TABLE outbox ADD COLUMN renewal BLOB CHECK (renewal IS NULL OR length(renewal) = 32);
ALTER TABLE outbox ADD COLUMN renew_ms INTEGER;
ALTER TABLE outbox ADD COLUMN renewals INTEGER NOT NULL DEFAULT 0;
CREATE INDEX outbox_by_renewal ON outbox (renew_ms) WHERE renew_ms IS NOT NULL;
