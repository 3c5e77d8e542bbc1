-- The tables of the peer that has PostgreSQL only, with a stock that is sold out and one that is not.
CREATE TABLE stocks (stock_id text PRIMARY KEY, remaining integer NOT NULL CHECK (remaining >= 0)) WITH (fillfactor = 50);
CREATE TABLE orders (
    stock_id   text NOT NULL REFERENCES stocks,
    user_id    text NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stock_id, user_id)
);
INSERT INTO stocks VALUES ('open', 100000000), ('sold-out', 0);
