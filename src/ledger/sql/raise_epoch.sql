-- Raise a round's epoch if it is still the one that was read; waits for every insert that is under way.
-- $1 round_no, $2 epoch that was read, $3 new epoch, $4 run id of the gate's server, $5 the recovery's deed or NULL
UPDATE rounds SET epoch = $3, gate_run_id = $4, recovery_deed_no = coalesce($5, recovery_deed_no)
WHERE round_no = $1 AND epoch = $2 RETURNING epoch
