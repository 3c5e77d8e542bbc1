-- Requests whose answer and effect do not belong together: done without one effect, or refused with one.
SELECT coalesce(q.out_request_no, e.out_request_no) AS out_request_no, coalesce(q.verdict, 'unanswered') AS verdict,
       count(e.out_request_no) AS effects
FROM requests q
FULL JOIN (
    SELECT caller, out_request_no FROM redemptions
    UNION ALL SELECT caller, out_request_no FROM reversals
    UNION ALL SELECT caller, out_request_no FROM refunds
) AS e ON e.caller = q.caller AND e.out_request_no = q.out_request_no
GROUP BY q.caller, q.out_request_no, q.verdict, e.caller, e.out_request_no
HAVING count(e.out_request_no) <> CASE q.verdict WHEN 'DONE' THEN 1 ELSE 0 END
