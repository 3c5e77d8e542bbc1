-- The signals, the latest first. $1 how many at most
SELECT signal_no, kind, subject, begins_at, merchant_no, vouchers, figures::text AS figures, noticed_at
FROM signals
ORDER BY signal_no DESC
LIMIT $1
