-- Keep entries that the vault refuses, each once.
-- $1 stock_no, then one array element an entry: $2 stream_id, $3 reason, $4 entry (JSON text), $5 entry_digest, $6 detail
INSERT INTO dead_letters (stock_no, stream_id, reason, entry, entry_digest, detail)
SELECT $1, e.stream_id, e.reason, e.entry::jsonb, e.entry_digest, e.detail
FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[])
    AS e (stream_id, reason, entry, entry_digest, detail)
ON CONFLICT ON CONSTRAINT entry_is_refused_once DO NOTHING
