-- 0014 keep peppers apart
--
-- Why    A user's reference is a keyed hash and begins with the version of its key, the pepper.  A campaign keeps the
--        version that it began with, so that the next one can begin with another while vouchers of this one are still
--        claimed and used.  The mark tells that the file of a version still holds the pepper that the campaign began
--        with; what is stored already began with version 1 and has none.
-- Locks  campaigns for a moment, exclusively.
-- Undo   Drop the columns; only safe while every campaign is of version 1.

ALTER TABLE campaigns
    ADD COLUMN pepper_version smallint NOT NULL DEFAULT 1,
    ADD COLUMN pepper_mark    bytea,
    ADD CONSTRAINT pepper_version_is_a_digit CHECK (pepper_version BETWEEN 1 AND 9),
    ADD CONSTRAINT pepper_mark_is_short      CHECK (length(pepper_mark) = 8);
