"""Anyone can check: a certificate, its public list and a user's proof, with a script that needs nothing but Python."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from grab_service.certificates import CertificateKey
from grab_service.keyring import KeyringInvalid
from ledger import seal
from ledger.certificate import NothingToCertify, evidence_of, own_row, proof_of
from ledger.journals import journals
from ledger.record import record
from ledger.seal import seal_now
from tests.ledger.conftest import OpenBooks
from tests.support.books import Books, user_ref
from tests.support.campaigns import small_campaign
from tests.tidy.project import ROOT

SCRIPT = ROOT / "tools" / "verify_certificate.py"
L = 2**252 + 27742317777372353535851937790883648493


def new_key(directory: Path, name: str = "certificate.pem") -> CertificateKey:
    """Make a key."""
    path = directory / name
    path.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return CertificateKey.read(path)


@dataclass(slots=True)
class Case:
    """What a sceptic has in his hands: files, and the key and head that were published.

    Attributes:
        key: Signs, also what is not true.
        statement: What the certificate says.
        lines: The public list.
        proof: Of one user's claim.
        head: As it was published.
    """

    directory: Path
    key: CertificateKey
    statement: dict[str, Any]
    lines: list[str]
    proof: dict[str, Any]
    head: dict[str, Any]
    certificate: dict[str, Any] | None = None

    def check(self, *without: str) -> subprocess.CompletedProcess[str]:
        """Run the script on files of all this."""
        certificate = self.certificate or self.key.sign(self.statement)
        texts = {
            "certificate": json.dumps(certificate),
            "list": "".join(f"{line}\n" for line in self.lines),
            "proof": json.dumps(self.proof),
            "head": json.dumps(self.head),
        }
        argv = [sys.executable, "-I", "-S", str(SCRIPT)]
        for name, text in texts.items():
            path = self.directory / name
            path.write_bytes(text.encode())
            if name not in without:
                argv += [str(path)] if name == "certificate" else [f"--{name}", str(path)]
        if "key" not in without:
            argv += ["--key", self.key.public_key]
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
async def sold(open_books: OpenBooks, campaign_id: str, monkeypatch: pytest.MonkeyPatch) -> Books:
    """Five claims in three blocks."""
    monkeypatch.setattr(seal, "BLOCK_ROWS_MAX", 2)
    books = await open_books(small_campaign(campaign_id))
    await books.claim("a", "b", "c", "d", "e")
    await record(books.vault, await books.row(), await books.entries())
    await seal_now(books.vault)
    return books


@pytest.fixture
async def case(sold: Books, tmp_path: Path) -> Case:
    """An honest certificate with everything that belongs to it."""
    evidence = await evidence_of(sold.vault, sold.stock.stock_id)
    published = [
        {"journal": each.name, "block_no": each.block_no, "hash": each.hash.hex()}
        for each in await journals(sold.vault)
        if each.hash is not None
    ]
    row = await own_row(sold.vault, sold.stock.stock_id, user_ref("c"))
    assert row is not None
    return Case(
        tmp_path,
        new_key(tmp_path),
        dict(evidence.statement),
        list(evidence.lines),
        evidence.proof(row.row_no),
        {"journals": published},
    )


def test_an_honest_certificate_holds(case: Case) -> None:
    """Signature, figures, chain, tree, proof and head, each by itself and all together."""
    done = case.check()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{case.statement['stock_id']}: 5 claims of 5 vouchers" in done.stdout
    assert "the list is complete: 5 claims in 3 blocks" in done.stdout
    assert f"claim {case.proof['claim_no']} is in it" in done.stdout
    assert "block 3 is the one that was kept" in done.stdout
    assert case.check("list").returncode == 0
    assert case.check("list", "proof", "head", "key").returncode == 0
    assert "is that the key that was published?" in case.check("key").stdout


def test_the_list_names_no_user(case: Case) -> None:
    """Neither list nor certificate nor a proof holds a user's reference, nor the opening of anybody else."""
    public = "\n".join(case.lines) + json.dumps(case.statement)
    assert not any(user_ref(user) in public + json.dumps(case.proof) for user in "abcde")
    assert case.proof["opening"] not in public


async def test_a_user_proves_his_claim_with_the_list_alone(case: Case, sold: Books) -> None:
    """What the service tells its user needs no path, since the list is public."""
    for user in "abcde":
        row = await own_row(sold.vault, sold.stock.stock_id, user_ref(user))
        assert row is not None
        case.proof = proof_of(sold.stock.stock_id, row)
        assert case.check().returncode == 0
    assert "this proof needs the list" in case.check("list").stdout
    assert await own_row(sold.vault, sold.stock.stock_id, user_ref("nobody")) is None


async def test_every_claim_has_a_path(case: Case, sold: Books) -> None:
    """Short proofs of first, last and odd ones, without the list."""
    evidence = await evidence_of(sold.vault, sold.stock.stock_id)
    for claim_no in range(1, 6):
        case.proof = evidence.proof(claim_no)
        assert case.check("list").returncode == 0
    with pytest.raises(KeyError):
        evidence.proof(6)


async def test_final_is_what_nothing_can_be_added_to(sold: Books) -> None:
    """Only when the round is over for good."""
    assert (await evidence_of(sold.vault, sold.stock.stock_id)).statement["is_final"] is False
    await sold.vault.execute("UPDATE rounds SET sealed_at = now()")
    assert (await evidence_of(sold.vault, sold.stock.stock_id)).statement["is_final"] is True


async def test_nothing_is_certified_of_a_stock_without_blocks(sold: Books) -> None:
    """There is no such stock, or nobody has claimed it."""
    for stock_id in ("no-such-stock", sold.stocks[1].stock_id):
        with pytest.raises(NothingToCertify):
            await evidence_of(sold.vault, stock_id)


def test_a_key_file_must_hold_a_key(tmp_path: Path) -> None:
    """None, an absent file and a file of something else are refused with a sentence."""
    (tmp_path / "other").write_text("changeme")
    for path in (None, tmp_path / "absent", tmp_path / "other"):
        with pytest.raises(KeyringInvalid):
            CertificateKey.read(path)


def _other_line(case: Case, **changes: str) -> None:
    fields = case.lines[2].split("\t")
    names = ("claim_no", "epoch", "stream_ms", "stream_seq", "round_no", "limit_no", "nth", "recorded_us", "entry")
    case.lines[2] = "\t".join(changes.get(name, field) for name, field in zip(names, fields, strict=True))


def _swap(case: Case) -> None:
    case.lines[0], case.lines[4] = case.lines[4], case.lines[0]


def _forget_a_claim(case: Case) -> None:
    del case.lines[4]
    case.statement["claims"] = 4
    case.statement["blocks"][2]["rows"] = 0


def _block(case: Case, **changes: object) -> None:
    case.statement["blocks"][1].update(changes)


def _sign_with_another(case: Case) -> None:
    case.certificate = new_key(case.directory, "other.pem").sign(case.statement)


def _signature(case: Case, change: Callable[[bytes], bytes]) -> None:
    case.certificate = case.key.sign(case.statement)
    case.certificate["signature"] = change(bytes.fromhex(case.certificate["signature"])).hex()


def _after_signing(case: Case) -> None:
    case.certificate = case.key.sign(case.statement)
    case.certificate["statement"]["quantity"] = 6


def _larger_s(signature: bytes) -> bytes:
    return signature[:32] + (int.from_bytes(signature[32:], "little") + L).to_bytes(32, "little")


def _path(case: Case) -> None:
    case.proof["path"][0] = ("left", "00" * 32)


def _head(case: Case, **changes: object) -> None:
    case.head["journals"][0].update(changes)


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (_after_signing, "the signature is of something else"),
        (_sign_with_another, "signed with another key"),
        (lambda case: _signature(case, lambda data: data[:-1] + bytes([data[-1] ^ 1])), "signature is of something"),
        (lambda case: _signature(case, lambda data: bytes([data[0] ^ 1]) + data[1:]), "signature"),
        (lambda case: _signature(case, _larger_s), "the signature is of something else"),
        (lambda case: _signature(case, lambda data: data + b"\x00"), "the signature is of something else"),
        (lambda case: _signature(case, lambda _: b""), "WRONG"),
        (lambda case: _other_line(case, entry="00" * 32), "differs from the certificate in block 2"),
        (lambda case: _other_line(case, epoch="9"), "differs from the certificate in block 2"),
        (lambda case: _other_line(case, recorded_us="1"), "differs from the certificate in block 2"),
        (lambda case: _other_line(case, claim_no="6"), "a number that there is not"),
        (lambda case: _other_line(case, claim_no="1"), "a number twice"),
        (lambda case: _other_line(case, stream_ms="1"), "the first instant is another"),
        (lambda case: _other_line(case, stream_ms="9" * 13), "the last instant is another"),
        (lambda case: _other_line(case, claim_no="x"), "WRONG"),
        (_swap, "differs from the certificate in block 1"),
        (lambda case: case.lines.pop(), "the list has 4 lines"),
        (lambda case: case.lines.append(case.lines[0]), "the list has 6 lines"),
        (_forget_a_claim, "do not hold as many claims"),
        (lambda case: case.statement.update(claims=4), "do not hold as many claims"),
        (lambda case: case.statement.update(quantity=4), "more claims than vouchers"),
        (lambda case: case.statement.update(stock_id="c-r1-general-2"), "the journal is of another stock"),
        (lambda case: case.statement.update(format="other"), "another format"),
        (lambda case: case.statement.update(head="00" * 32), "the head is not the last block's hash"),
        (lambda case: case.statement.update(merkle_root="00" * 32), "the root of the list is another"),
        (lambda case: case.statement.pop("quantity"), "WRONG"),
        (lambda case: _block(case, hash="00" * 32), "differs from the certificate in block 2"),
        (lambda case: _block(case, sealed_at_us=1), "differs from the certificate in block 2"),
        (lambda case: case.proof.update(opening="00" * 32), "does not open its line"),
        (lambda case: case.proof.update(claim_no=5), "of another number"),
        (lambda case: case.proof.update(stock_id="c-r1-general-2"), "of another stock"),
        (lambda case: case.proof.update(line=case.lines[0]), "of another number"),
        (lambda case: case.proof.update(line=case.lines[0], claim_no=1), "does not open its line"),
        (_path, "the proof's line is not in the certificate"),
        (lambda case: case.proof.update(path=[]), "the proof's line is not in the certificate"),
        (lambda case: _head(case, hash="00" * 32), "the head that was kept is of another chain"),
        (lambda case: _head(case, block_no=4), "has no block of this certificate"),
        (lambda case: _head(case, journal="claims/other"), "has no block of this certificate"),
    ],
)
def test_whatever_is_tampered_with_is_found(case: Case, tamper: Callable[[Case], object], said: str) -> None:
    """Also by the one who has the key: then list, chain, proof and published head speak against him."""
    tamper(case)
    done = case.check()
    assert (done.returncode, done.stderr) == (1, "")
    assert said in done.stdout.splitlines()[-1]


def test_a_file_that_is_not_there_is_no_verdict(case: Case) -> None:
    """Exit code 2: nothing can be said."""
    argv = [sys.executable, "-I", "-S", str(SCRIPT), str(case.directory / "absent")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "CANNOT READ" in done.stdout


def test_the_script_is_short_enough_to_be_read() -> None:
    """Under 150 lines, and it imports nothing but Python's own."""
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 150
    imported = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names
