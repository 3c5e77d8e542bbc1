-- The statement that lets a role ($1) log in, with the verifier of its password ($2); its parts cannot be parameters.
SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)
