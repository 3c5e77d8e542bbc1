-- Names of the guards of the journals that are in force: checked constraints, valid unique indexes, triggers that
-- fire for everybody.
SELECT conname AS name FROM pg_constraint
WHERE conrelid IN ('vouchers'::regclass, 'claims'::regclass, 'dead_letters'::regclass) AND convalidated
UNION
SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid IN ('vouchers'::regclass, 'claims'::regclass, 'dead_letters'::regclass) AND indisunique AND indisvalid
UNION
SELECT tgname FROM pg_trigger
WHERE tgrelid IN ('vouchers'::regclass, 'claims'::regclass, 'dead_letters'::regclass)
  AND NOT tgisinternal AND tgenabled = 'A'
