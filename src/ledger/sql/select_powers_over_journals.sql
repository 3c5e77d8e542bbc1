-- The tables that this session's role could change although nobody should: journals, which only grow, and balances, which
-- follow them.
SELECT relation.relname AS name
FROM pg_class AS relation
WHERE relation.relnamespace = 'public'::regnamespace
    AND has_table_privilege(relation.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
    AND (relation.relname = 'balances' OR EXISTS (
        SELECT FROM pg_trigger
        JOIN pg_proc ON pg_proc.oid = pg_trigger.tgfoid
        WHERE pg_trigger.tgrelid = relation.oid
            AND pg_proc.proname = 'refuse_change'
            AND pg_trigger.tgtype & 16 > 0
            AND pg_trigger.tgqual IS NULL
    ))
ORDER BY name
