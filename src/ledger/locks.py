"""Classes of advisory locks in the vault's database; the second number says which one of its class."""

MIGRATION = 7_401  # 0: one applies migrations
STOCK = 7_402  # stock_no: the one worker that records this stock's claims
WORKER = 7_403  # 0, shared: every worker, so that they can count each other
RECOVERY = 7_404  # 0: one recovery at a time
WATCH = 7_405  # 0: the one worker that watches the invariants
UPKEEP = 7_406  # 0: the one worker that expires vouchers and seals rounds
SEAL = 7_407  # 0: the one that puts rows into blocks
