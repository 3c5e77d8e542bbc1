-- Whether two persons must agree on grave acts.
SELECT EXISTS (SELECT FROM vault_policy)
