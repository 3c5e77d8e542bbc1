"""The front door and the gate: who may claim, who gets a voucher, and how they are told."""
