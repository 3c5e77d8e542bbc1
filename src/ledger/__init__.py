"""The vault: who owns a voucher, kept in PostgreSQL and fed from the gate's streams."""
