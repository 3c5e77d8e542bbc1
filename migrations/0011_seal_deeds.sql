-- 0011 seal deeds
--
-- Why    What staff asked for, approved and did is sealed like claims and money, so that the hand of
--        whoever owns the database can be found there too.  It is one journal of the whole vault.
-- Locks  journals for a moment, exclusively.
-- Undo   Drop the column and the index, and restore the check of 0005; only before the first block of it.

ALTER TABLE journals ADD COLUMN of_staff boolean NOT NULL DEFAULT false;
ALTER TABLE journals DROP CONSTRAINT journal_is_of_one_thing;
ALTER TABLE journals ADD CONSTRAINT journal_is_of_one_thing
    CHECK (num_nonnulls(stock_no, campaign_no, nullif(of_staff, false)) = 1);
CREATE UNIQUE INDEX one_journal_of_staff ON journals (of_staff) WHERE of_staff;
