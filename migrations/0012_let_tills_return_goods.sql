-- 0012 let tills return goods
--
-- Why    Returning goods asks for a scope of its own, merchant:refund: a till that takes payments need not give money back.
--        Whoever could return goods before, with merchant:redeem alone, still can: his client gets the scope here, once.
-- Locks  clients for a moment, exclusively.
-- Undo   Restore the check of 0004 after taking merchant:refund out of clients.scopes; nobody can return goods then.

ALTER TABLE clients DROP CONSTRAINT client_scopes_are_known;
ALTER TABLE clients ADD CONSTRAINT client_scopes_are_known CHECK (
    cardinality(scopes) > 0 AND scopes <@ '{merchant:redeem,merchant:refund,merchant:register}');

ALTER TABLE clients DISABLE TRIGGER clients_only_shrink;
UPDATE clients SET scopes = ARRAY(SELECT unnest(scopes || '{merchant:refund}'::text[]) ORDER BY 1)
WHERE 'merchant:redeem' = ANY (scopes);
ALTER TABLE clients ENABLE ALWAYS TRIGGER clients_only_shrink;
