-- Names of the guards that are in force: checked constraints, valid unique indexes, triggers that fire for everybody.
SELECT conname AS name FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND convalidated
UNION
SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE relnamespace = 'public'::regnamespace AND indisunique AND indisvalid
UNION
SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal AND tgenabled = 'A'
