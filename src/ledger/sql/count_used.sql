-- How many vouchers are used: redemptions without those that were reversed.
SELECT (SELECT count(*) FROM redemptions) - (SELECT count(*) FROM reversals)
