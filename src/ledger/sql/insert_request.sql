-- Keep the refusal that a request was answered with. $1 caller, $2 out_request_no, $3 digest of the body, $4 code, $5 answer
INSERT INTO requests (caller, out_request_no, body_digest, verdict, answer) VALUES ($1, $2, $3, $4, $5)
