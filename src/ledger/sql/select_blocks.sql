-- The blocks of a journal, in order. $1 journal_no
SELECT block_no, row_count, previous_hash, hash, sealed_at FROM sealed_blocks WHERE journal_no = $1 ORDER BY block_no
