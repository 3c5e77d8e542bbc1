-- Keep the ledger from recording.
LOCK TABLE claims IN ACCESS EXCLUSIVE MODE
