-- The highest number of a row that is in a block of a journal, NULL if none is. $1 journal_no
SELECT max(row_no) FROM sealed_rows WHERE journal_no = $1
