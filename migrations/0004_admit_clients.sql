-- 0004 admit clients
--
-- Why    Back ends (the app, an acquirer, a merchant) sign their requests.  What a client may do never
--        changes, and trust can only shrink: a key ends sooner than was planned, or is revoked, once.
--        A nonce that was seen is remembered here, where every process sees it and a restart forgets
--        nothing.  Grave acts want two persons: a request, an approval by somebody else, and one act
--        for each approval; keys say so, and the journal of all three is append-only.
-- Locks  None: new tables only.
-- Undo   Drop the tables, the view and the functions; nobody but users and staff can call then.

CREATE TABLE clients (
    client_id   text        COLLATE "C" PRIMARY KEY,
    name        text        NOT NULL,
    scopes      text[]      NOT NULL,
    merchants   text[]      NOT NULL,           -- UnionPay numbers; '*' is all
    added_by    text        NOT NULL,
    added_at    timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz,
    state       text        GENERATED ALWAYS AS (CASE WHEN revoked_at IS NULL THEN 'ACTIVE' ELSE 'REVOKED' END) STORED NOT NULL,

    CONSTRAINT client_id_is_a_name      CHECK (client_id ~ '^[a-z][a-z0-9-]{1,31}$'),
    CONSTRAINT client_facts_are_bounded CHECK (length(name) BETWEEN 1 AND 100 AND length(added_by) BETWEEN 1 AND 64
                                               AND name !~ '[[:cntrl:]]' AND added_by !~ '[[:cntrl:]]'),
    -- A client speaks for no user: whoever claims shows a token of the user's own.
    CONSTRAINT client_scopes_are_known  CHECK (cardinality(scopes) > 0 AND scopes <@ '{merchant:redeem,merchant:register}'),
    CONSTRAINT merchants_are_numbers    CHECK (cardinality(merchants) <= 10000
                                               AND array_to_string(merchants, ',') ~ '^((\*|[0-9]{15})(,|$))*$')
);

CREATE TABLE client_keys (
    key_id       text        COLLATE "C" PRIMARY KEY,  -- 'bank-1.2', the second of bank-1
    client_id    text        COLLATE "C" NOT NULL REFERENCES clients,
    key_no       integer     NOT NULL,
    algorithm    text        NOT NULL,
    public_key   bytea,                         -- of Ed25519; an HMAC's secret is derived from the service's own, never stored
    valid_from   timestamptz NOT NULL,
    valid_until  timestamptz NOT NULL,          -- exclusive
    revoked_at   timestamptz,
    added_by     text        NOT NULL,
    added_at     timestamptz NOT NULL DEFAULT now(),

    UNIQUE (client_id, key_no),
    CONSTRAINT key_id_follows         CHECK (key_id = client_id || '.' || key_no),
    CONSTRAINT algorithm_is_known     CHECK (algorithm IN ('ed25519', 'hmac-sha256')),
    CONSTRAINT only_ed25519_is_stored CHECK ((algorithm = 'ed25519') = (public_key IS NOT NULL)),
    CONSTRAINT public_key_is_ed25519  CHECK (length(public_key) = 32),
    CONSTRAINT key_ends               CHECK (valid_until <= valid_from + interval '400 days'),
    CONSTRAINT key_is_added_by_name   CHECK (length(added_by) BETWEEN 1 AND 64)
);

-- One pair of keys for one client: nobody can say that another has signed.
CREATE UNIQUE INDEX one_client_per_public_key ON client_keys (public_key) WHERE public_key IS NOT NULL;

-- No reference to the key: every request would lock its row.  The statement that writes here reads the key.
CREATE TABLE request_nonces (
    client_id   text        COLLATE "C" NOT NULL,
    nonce       text        COLLATE "C" NOT NULL,
    seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT one_request_per_nonce PRIMARY KEY (client_id, nonce),
    CONSTRAINT nonce_is_bounded      CHECK (length(nonce) BETWEEN 16 AND 64)
);
CREATE INDEX nonces_by_age ON request_nonces (seen_at);

CREATE FUNCTION let_trust_only_shrink() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ends CONSTANT text[] := '{valid_until,revoked_at,state}';
BEGIN
    IF to_jsonb(NEW) - ends <> to_jsonb(OLD) - ends
        OR OLD.revoked_at IS NOT NULL
        OR (to_jsonb(NEW) ->> 'valid_until')::timestamptz > (to_jsonb(OLD) ->> 'valid_until')::timestamptz
    THEN
        RAISE EXCEPTION '%: trust can only shrink', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER clients_only_shrink           BEFORE UPDATE ON clients
    FOR EACH ROW EXECUTE FUNCTION let_trust_only_shrink();
CREATE TRIGGER client_keys_only_shrink       BEFORE UPDATE ON client_keys
    FOR EACH ROW EXECUTE FUNCTION let_trust_only_shrink();
CREATE TRIGGER clients_are_never_removed     BEFORE DELETE OR TRUNCATE ON clients
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER client_keys_are_never_removed BEFORE DELETE OR TRUNCATE ON client_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- -------------------------------------------------------------------------------------------------------- two persons

CREATE TABLE admin_requests (
    request_no    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action        text        NOT NULL,
    target        text        NOT NULL,         -- what exactly: the command compares it letter by letter
    reason        text        NOT NULL,
    requested_by  text        COLLATE "C" NOT NULL,  -- 'sub' of a staff token
    requested_at  timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT request_has_its_subject UNIQUE (request_no, requested_by),
    CONSTRAINT action_is_known         CHECK (action IN ('clients', 'fund', 'open', 'pause', 'recover', 'settle')),
    CONSTRAINT admin_request_is_stated CHECK (length(target) BETWEEN 1 AND 1000 AND length(reason) BETWEEN 1 AND 500
                                              AND length(requested_by) BETWEEN 1 AND 64)
);

CREATE TABLE admin_approvals (
    request_no    bigint      PRIMARY KEY,
    requested_by  text        COLLATE "C" NOT NULL,
    approved_by   text        COLLATE "C" NOT NULL,
    reason        text        NOT NULL,
    approved_at   timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT approval_is_of_its_request
        FOREIGN KEY (request_no, requested_by) REFERENCES admin_requests (request_no, requested_by),
    CONSTRAINT two_persons         CHECK (approved_by <> requested_by),
    CONSTRAINT approval_is_stated  CHECK (length(reason) BETWEEN 1 AND 500 AND length(approved_by) BETWEEN 1 AND 64)
);

CREATE TABLE admin_acts (
    request_no  bigint      REFERENCES admin_approvals,
    done_by     text        COLLATE "C" NOT NULL,
    begun_at    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT one_act_per_approval PRIMARY KEY (request_no),
    CONSTRAINT act_is_by_somebody   CHECK (length(done_by) BETWEEN 1 AND 64)
);

-- Who asked, approved and did what, in order.
CREATE VIEW admin_journal AS
SELECT request_no, 'REQUESTED' AS step, action, target, requested_by AS subject, reason, requested_at AS at
FROM admin_requests
UNION ALL
SELECT request_no, 'APPROVED', action, target, approved_by, a.reason, approved_at
FROM admin_approvals a JOIN admin_requests USING (request_no)
UNION ALL
SELECT request_no, 'BEGUN', action, target, done_by, '', begun_at
FROM admin_acts JOIN admin_requests USING (request_no);

CREATE TRIGGER admin_requests_are_append_only  BEFORE UPDATE OR DELETE OR TRUNCATE ON admin_requests
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER admin_approvals_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON admin_approvals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER admin_acts_are_append_only      BEFORE UPDATE OR DELETE OR TRUNCATE ON admin_acts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ALWAYS: also for a session that sets session_replication_role = replica.
ALTER TABLE clients         ENABLE ALWAYS TRIGGER clients_only_shrink;
ALTER TABLE clients         ENABLE ALWAYS TRIGGER clients_are_never_removed;
ALTER TABLE client_keys     ENABLE ALWAYS TRIGGER client_keys_only_shrink;
ALTER TABLE client_keys     ENABLE ALWAYS TRIGGER client_keys_are_never_removed;
ALTER TABLE admin_requests  ENABLE ALWAYS TRIGGER admin_requests_are_append_only;
ALTER TABLE admin_approvals ENABLE ALWAYS TRIGGER admin_approvals_are_append_only;
ALTER TABLE admin_acts      ENABLE ALWAYS TRIGGER admin_acts_are_append_only;
