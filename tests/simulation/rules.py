"""The rules whose absence the simulation must notice: each can be switched off."""

from __future__ import annotations

from enum import Enum


class Rule(Enum):
    """A rule of the design.  A world is given the set of rules that it breaks; normally it is empty."""

    FENCE = "the vault records claims of the round's epoch only"
    FUSE = "a gate that was restarted forgets that it was open"
    ONE_OWNER = "the vault has one owner for each voucher"
    ONE_VOUCHER = "gate and vault give a user one voucher"
    SECOND_STATEMENT = "the vault classifies in a second statement, which sees what was committed meanwhile"
    COMMIT_FIRST = "the watermark moves after the vault's commit"
    READ_ON = "a worker reads on from the watermark"
    NO_GAP = "the watermark moves on only from where it stands"
    DRAIN = "a recovery drains the stream before it raises the epoch"
    RAISE = "a recovery raises the epoch"
    NUMBERS = "a recovery opens only when the numbers in the gate are 1..quantity"
    OWN_REBUILD = "the gate refuses writes of a recovery that was overtaken"
    SOLD_OUT_BY_EPOCH = "sold out is not believed for longer than its epoch"
