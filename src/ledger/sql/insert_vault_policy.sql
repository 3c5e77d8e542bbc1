-- Let two persons agree on grave acts from now on; nothing is returned if they must already.
INSERT INTO vault_policy (two_persons) VALUES (true) ON CONFLICT DO NOTHING RETURNING two_persons
