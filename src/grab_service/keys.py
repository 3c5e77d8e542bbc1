"""Names of the gate's keys: the table of ``lua/README.md`` in code."""

from __future__ import annotations

from dataclasses import dataclass

WATCH = "grab:watch"  # the verdict of the continuous watch, one for the whole gate
ASKED = "grab:asked"  # what users who ask often have asked of all processes, one for the whole gate
DIFFERENCE = "difference:"  # begins those of its fields that say by how many vouchers gate and vault differ


@dataclass(frozen=True, slots=True)
class StockKeys:
    """The keys of one stock; all of them share one hash tag."""

    rules: str
    free: str
    holders: str
    claims: str
    progress: str
    refused: str
    round_taken: str
    class_tier_taken: str

    @classmethod
    def of(cls, stock_id: str, gate_tag: str, class_tier: str) -> StockKeys:
        """Name the keys of a stock.

        Args:
            stock_id: ``{campaign}-{round}-{class}-{tier}``.
            gate_tag: The hash tag, a prefix of ``stock_id``.
            class_tier: Its end, ``{class}-{tier}``.
        """
        stock = f"grab:{{{gate_tag}}}{stock_id[len(gate_tag) :]}"
        taken = f"grab:{{{gate_tag}}}:taken"
        return cls(
            rules=f"{stock}:rules",
            free=f"{stock}:free",
            holders=f"{stock}:holders",
            claims=f"{stock}:claims",
            progress=f"{stock}:progress",
            refused=f"{stock}:refused",
            round_taken=f"{taken}:{stock_id.removesuffix(f'-{class_tier}')}",
            class_tier_taken=f"{taken}:{class_tier}",
        )
