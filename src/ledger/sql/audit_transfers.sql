-- Events without exactly their money, and money without its event: another amount, campaign or account than the event's.
SELECT coalesce(c.campaign_id, '') AS campaign_id, coalesce(e.event_no, t.event_no) AS event_no,
       coalesce(e.kind, '-') AS kind, coalesce(e.amount_fen, 0) AS amount_fen, coalesce(t.amount_fen, 0) AS moved_fen
FROM events e
LEFT JOIN posting_rules p ON p.event_kind = e.kind
FULL JOIN transfers t ON t.event_no = e.event_no
LEFT JOIN campaigns c ON c.campaign_no = coalesce(e.campaign_no, t.campaign_no)
WHERE CASE
    WHEN e.event_no IS NULL THEN true
    WHEN t.event_no IS NULL THEN e.amount_fen <> 0
    ELSE (t.amount_fen, t.campaign_no, t.event_kind, t.debit_kind, t.credit_kind, t.stock_holder, t.merchant_holder)
         IS DISTINCT FROM
         (e.amount_fen, e.campaign_no, e.kind, p.debit_kind, p.credit_kind, e.stock_holder, e.merchant_holder)
END
