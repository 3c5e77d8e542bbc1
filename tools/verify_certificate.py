"""Check what grab-service says of a stock, with nothing but Python 3.11; docs/audit.md tells how and why."""

import argparse
import json
import sys
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any

P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int, int, int]


def demand(holds: bool, otherwise: str) -> None:
    """Go on only if it holds."""
    if not holds:
        raise ValueError(otherwise)


def add(a: Point, b: Point) -> Point:
    """Add two points of the curve of Ed25519 (RFC 8032, section 5.1.4)."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(number: int, point: Point) -> Point:
    """Add a point to itself so many times."""
    total = (0, 1, 1, 0)
    while number:
        if number & 1:
            total = add(total, point)
        point, number = add(point, point), number >> 1
    return total


def point_of(data: bytes) -> Point:
    """Read a point (section 5.1.3)."""
    sign, y = divmod(int.from_bytes(data, "little"), 2**255)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    demand(len(data) == 32 and y < P and (x * x - square) % P == 0 and (x > 0 or not sign), "no key or signature")
    x = P - x if x % 2 != sign else x
    return x, y, 1, x * y % P


def is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """Verify a signature (section 5.1.7)."""
    s = int.from_bytes(signature[32:], "little")
    h = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % ORDER
    left = times(s, point_of((4 * pow(5, -1, P) % P).to_bytes(32, "little")))
    right = add(point_of(signature[:32]), times(h, point_of(key)))
    is_same = all((left[at] * right[2] - right[at] * left[2]) % P == 0 for at in (0, 1))
    return len(signature) == 64 and s < ORDER and is_same


def node(*below: bytes) -> bytes:
    """Return what stands above two nodes of the tree; one without a neighbour moves up as it is."""
    return sha256(b"\x01" + b"".join(below)).digest() if len(below) > 1 else below[0]


def check_statement(said: dict[str, Any]) -> str:
    """Check what the certificate says by itself."""
    rows = [block["rows"] for block in said["blocks"]]
    demand(said["format"] == "grab-certificate-1", "it is of another format")
    demand(said["journal"] == f"claims/{said['stock_id']}", "the journal is of another stock")
    demand(said["claims"] == sum(rows) and min(rows) > 0, "the blocks do not hold as many claims as it says")
    demand(0 < said["claims"] <= said["quantity"], "more claims than vouchers")
    demand(said["head"] == said["blocks"][-1]["hash"], "the head is not the last block's hash")
    return f"{said['stock_id']}: {said['claims']} claims of {said['quantity']} vouchers, head {said['head']}"


def check_list(said: dict[str, Any], lines: list[str]) -> str:
    """Recompute figures, chain and tree from the public list."""
    demand(len(lines) == said["claims"], f"the list has {len(lines)} lines, the certificate {said['claims']} claims")
    numbers, instants = ({int(line.split("\t")[at]) for line in lines} for at in (0, 2))
    demand(len(numbers) == len(lines), "the list has a number twice")
    demand(min(numbers) >= 1 and max(numbers) <= said["quantity"], "the list has a number that there is not")
    demand(said["first_claim_ms"] == min(instants), "the first instant is another")
    demand(said["last_claim_ms"] == max(instants), "the last instant is another")
    previous, start = "00" * 32, 0
    for number, block in enumerate(said["blocks"], start=1):
        head = f"{said['journal']}\t{number}\t{block['rows']}\t{block['sealed_at_us']}\t{previous}"
        text = "".join(f"{line}\n" for line in (f"grab-block\t{head}", *lines[start : start + block["rows"]]))
        previous, start = sha256(text.encode()).hexdigest(), start + block["rows"]
        demand(previous == block["hash"], f"the list differs from the certificate in block {number}")
    level = [sha256(b"\x00" + line.encode()).digest() for line in lines]
    while len(level) > 1:
        level = [node(*level[at : at + 2]) for at in range(0, len(level), 2)]
    demand(level[0].hex() == said["merkle_root"], "the root of the list is another")
    return f"the list is complete: {len(lines)} claims in {len(said['blocks'])} blocks"


def check_proof(said: dict[str, Any], proof: dict[str, Any], lines: list[str] | None) -> str:
    """Check that whoever holds the proof can open a line, and that the certificate covers this line."""
    number, _, instant_ms, *_, entry = proof["line"].split("\t")
    demand(proof["stock_id"] == said["stock_id"], "the proof is of another stock")
    demand(int(number) == proof["claim_no"], "the proof is of another number")
    opened = f"grab-entry\t{said['stock_id']}\t{number}\t{instant_ms}\t{proof['opening']}"
    demand(sha256(opened.encode()).hexdigest() == entry, "the proof does not open its line")
    demand("path" in proof or lines is not None, "this proof needs the list")
    at = sha256(b"\x00" + proof["line"].encode()).digest()
    for side, other in proof.get("path", []):
        at = node(bytes.fromhex(other), at) if side == "left" else node(at, bytes.fromhex(other))
    demand("path" not in proof or at.hex() == said["merkle_root"], "the proof's line is not in the certificate")
    demand(lines is None or proof["line"] in lines, "the proof's line is not in the list")
    return f"claim {number} is in it, and is of whoever holds the proof"


def check_head(said: dict[str, Any], kept: dict[str, Any]) -> str:
    """Compare with a head that was published and kept."""
    head = next((each for each in kept["journals"] if each["journal"] == said["journal"]), {"block_no": 0})
    demand(1 <= head["block_no"] <= len(said["blocks"]), "the head that was kept has no block of this certificate")
    demand(head["hash"] == said["blocks"][head["block_no"] - 1]["hash"], "the head that was kept is of another chain")
    return f"block {head['block_no']} is the one that was kept"


def main() -> int:
    """Return 0 if all holds, 1 if something does not, 2 if a file cannot be read."""
    parser = argparse.ArgumentParser(description="Check a certificate of grab-service; 0 all holds, 1 it does not.")
    for name in ("certificate", "--key", "--list", "--proof", "--head"):
        parser.add_argument(name)
    given = parser.parse_args()
    try:
        certificate = json.loads(Path(given.certificate).read_bytes())
        said, key, signature = (certificate[name] for name in ("statement", "public_key", "signature"))
        demand(given.key in (None, key), "it is signed with another key")
        signed = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
        demand(is_signed(bytes.fromhex(key), signed, bytes.fromhex(signature)), "the signature is of something else")
        print(f"signed with {key}" + ("" if given.key else ": is that the key that was published?"))
        lines = given.list and Path(given.list).read_bytes().decode().removesuffix("\n").split("\n")
        print(check_statement(said))
        print(check_list(said, lines) if given.list else "without --list it was not recomputed")
        proof, head = (path and json.loads(Path(path).read_bytes()) for path in (given.proof, given.head))
        print(check_proof(said, proof, lines) if given.proof else "no --proof to check")
        print(check_head(said, head) if given.head else "no --head to compare with")
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError, OSError) as error:
        print(f"{'CANNOT READ' if isinstance(error, OSError) else 'WRONG'}: {error}")
        return 2 if isinstance(error, OSError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
