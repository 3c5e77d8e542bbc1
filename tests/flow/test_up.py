"""``grab up``: one command brings a whole service up, keeps it up through deaths, and takes it down."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from datetime import datetime
from pathlib import Path

import pytest
import redis.asyncio as redis

from grab_service.gate import connect
from tests.support.rehearsals import CHILDREN, FIRST_STOCK, Rehearsal, grab, is_alive, now_ms
from tests.support.wait import wait_until


async def test_ready_is_said_once_and_claims_are_served(running: Rehearsal) -> None:
    """Standard output holds the one line that names the URL, and a claim there is answered with a voucher."""
    assert running.said == f"ready {running.url}\n"
    answer = await running.claim_until_served(running.token("first"))
    assert answer.json()["stock_id"] == FIRST_STOCK


async def test_a_ticket_is_as_good_as_a_jwt(running: Rehearsal) -> None:
    """Both kinds of minted tokens stand for the same user."""
    by_jwt = await running.claim_until_served(running.token("both"))
    by_ticket = await running.claim_until_served(running.token("both", "--kind", "ticket"))
    assert by_ticket.status_code == 200
    assert by_ticket.json()["voucher_code"] == by_jwt.json()["voucher_code"]


def test_a_pid_file_names_each_child(running: Rehearsal) -> None:
    """The ids are of four different processes that run."""
    pids = [running.pid(name) for name in CHILDREN]
    assert len({pid for pid in pids if pid is not None and is_alive(pid)}) == len(CHILDREN)


@pytest.mark.parametrize("name", CHILDREN)
async def test_a_killed_child_is_started_again(running: Rehearsal, name: str) -> None:
    """After SIGKILL it has a new process, the service is ready again, and a winner keeps his voucher."""
    token = running.token(f"survivor-of-{name}")
    before = (await running.claim_until_served(token)).json()
    old = running.pid(name)
    assert old is not None

    os.kill(old, signal.SIGKILL)

    # The API still knows the winner and the open gate from before, for a moment: the gate itself is asked.
    await wait_until(lambda: running.pid(name) not in (None, old), f"{name} has a new process", 20)
    await wait_until(running.gate_is_open, "the gate is open again", 30)
    await wait_until(running.is_ready, "the service is ready again", 30)
    after = (await running.claim_until_served(token)).json()
    assert after == before | {"replayed": True}


async def test_an_emptied_gate_is_rebuilt_by_itself(running: Rehearsal) -> None:
    """Functions and data of the gate are deleted by mistake: it opens again, and winners keep their vouchers."""
    token = running.token("survivor-of-flush")
    before = (await running.claim_until_served(token)).json()
    gate = connect(running.settings["redis_url"], timeout_ms=5000)
    try:
        await gate.function_delete("grab")
        await gate.flushall()
    finally:
        await gate.aclose()

    await wait_until(running.gate_is_open, "the gate is rebuilt", 30)
    await wait_until(running.is_ready, "the service is ready again", 30)
    after = (await running.claim_until_served(token)).json()
    assert after == before | {"replayed": True}


@pytest.mark.parametrize("harm", ["removed", "wiped", "halved", "damaged"])
async def test_a_gate_that_lost_or_cannot_read_its_file_is_rebuilt_by_itself(running: Rehearsal, harm: str) -> None:
    """Killed, and its data gone or damaged before it is started again: winners keep their vouchers."""
    token = running.token(f"survivor-of-{harm}")
    before = (await running.claim_until_served(token)).json()
    gate_dir = running.directory / "valkey"
    aside = set(gate_dir.glob("damaged-*"))

    with running.frozen():
        pid = running.pid("valkey")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await wait_until(lambda: not is_alive(pid), "the gate is dead")
        [file] = gate_dir.glob("appendonlydir/*.incr.aof")
        if harm == "removed":
            shutil.rmtree(gate_dir)
        elif harm == "wiped":
            shutil.rmtree(gate_dir / "appendonlydir")
        elif harm == "halved":
            os.truncate(file, file.stat().st_size // 2)
        else:
            file.write_bytes(b"no command" + file.read_bytes())

    # The API still knows the winner and the open gate from before, for a moment: the gate itself is asked.
    await wait_until(lambda: running.pid("valkey") not in (None, pid), "the gate has a new process", 20)
    await wait_until(lambda: grab("audit", "--data-dir", running.directory).returncode == 0, "the audit is green", 30)
    await wait_until(running.is_ready, "the service is ready again", 30)
    assert (await running.claim_until_served(token)).json() == before | {"replayed": True}
    assert bool(set(gate_dir.glob("damaged-*")) - aside) == (harm == "damaged")


async def test_a_gate_whose_directory_is_removed_while_it_runs_is_rebuilt_by_itself(running: Rehearsal) -> None:
    """It would go on selling into a file without a name: it is ended, started anew, and winners keep their vouchers."""
    token = running.ticket("survivor-of-removal")
    before = (await running.claim_until_served(token)).json()
    pid = running.pid("valkey")

    shutil.rmtree(running.directory / "valkey")

    await wait_until(lambda: running.pid("valkey") not in (None, pid), "the gate has a new process", 20)
    await wait_until(running.gate_is_open, "the gate is rebuilt", 30)
    await wait_until(running.is_ready, "the service is ready again", 30)
    assert list((running.directory / "valkey").glob("appendonlydir/*.incr.aof"))
    assert (await running.claim_until_served(token)).json() == before | {"replayed": True}
    assert grab("audit", "--data-dir", running.directory).returncode == 0


def test_a_second_up_on_the_same_directory_is_refused(running: Rehearsal) -> None:
    """It says who is there, starts nothing, and the first one is not disturbed."""
    before = running.pids
    done = grab("up", "--data-dir", running.directory, "--port", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "another 'grab up'" in done.stderr
    assert running.pids == before


async def test_what_a_killed_supervisor_left_is_ended_by_the_next(running: Rehearsal) -> None:
    """The supervisor is killed, its children live on; the next one ends them first and goes on."""
    token = running.token("survivor-of-up")
    before = (await running.claim_until_served(token)).json()
    left = running.pids

    running.stop(signal.SIGKILL)
    assert [pid for pid in left if not is_alive(pid)] == []
    await running.start()

    assert [pid for pid in left if is_alive(pid)] == []
    assert (await running.claim_until_served(token)).json() == before | {"replayed": True}


async def test_a_rehearsal_opens_on_time_ends_clean_and_goes_on(rehearsal: Rehearsal) -> None:
    """It opens as long after readiness as was asked; a stop leaves no process; the next start keeps all that was."""
    await rehearsal.start("--opens-in", "6")
    ready_ms = now_ms()
    token = rehearsal.ticket("early")
    early = await rehearsal.claim(token)
    assert early.json()["code"] == "NOT_STARTED"
    opens_ms = datetime.fromisoformat(early.json()["opens_at"]).timestamp() * 1000
    assert 1000 < opens_ms - ready_ms <= 6000
    won = await rehearsal.claim_until_served(token)
    assert won.status_code == 201

    pids = rehearsal.pids
    assert rehearsal.stop() == 0
    assert [pid for pid in pids if is_alive(pid)] == []
    assert rehearsal.pids == []

    await rehearsal.start("--opens-in", "1000")
    assert "--opens-in is ignored" in rehearsal.told
    assert (await rehearsal.claim(token)).json() == won.json() | {"replayed": True}
    assert rehearsal.stop(signal.SIGINT) == 0


@pytest.mark.parametrize(("server", "workers"), [("uvicorn", "1"), ("granian", "2")])
async def test_each_server_keeps_every_promise_of_a_claim(rehearsal: Rehearsal, server: str, workers: str) -> None:
    """A yes once, the same one again, a clean no, a late yes while the ledger is away; and an end that loses nobody."""
    await rehearsal.start("--opens-in", "0", "--server", server, "--workers", workers)
    token = rehearsal.token("promised")
    answers = [await rehearsal.claim_until_served(token) for _ in range(6)]
    assert {answer.status_code for answer in answers[1:]} == {200}
    assert {answer.json()["voucher_code"] for answer in answers} == {answers[0].json()["voucher_code"]}
    assert (await rehearsal.claim("t2.forged")).status_code == 401
    ledger = rehearsal.pid("ledger")
    assert ledger is not None
    os.kill(ledger, signal.SIGSTOP)
    late = rehearsal.token("late")
    assert (await rehearsal.claim(late)).status_code == 202
    os.kill(ledger, signal.SIGCONT)

    async def is_told() -> bool:
        return (await rehearsal.claim(late)).status_code == 200

    await wait_until(is_told, "the winner is told once the ledger goes on", 20)
    assert rehearsal.stop() == 0


async def test_named_servers_are_used_instead_of_own(
    rehearsal: Rehearsal, database_url: str, valkey_server: object, empty_gate: redis.Redis
) -> None:
    """With both URLs set, only the API and the ledger worker are children."""
    assert await empty_gate.dbsize() == 0
    gate_url: str = valkey_server.url  # type: ignore[attr-defined]  # a Server; its module is not for tests of the outside
    await rehearsal.start(GRAB_REDIS_URL=gate_url, GRAB_DATABASE_URL=database_url)
    assert rehearsal.pid("valkey") is rehearsal.pid("postgres") is None
    assert grab("status", "--data-dir", rehearsal.directory).stdout.count("ENDED") == 8
    assert rehearsal.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "sentence"),
    [
        (["--port", "70000"], {}, 2, "--port: Input should be less than or equal to 65535"),
        ([], {"GRAB_PORT": "none"}, 2, "GRAB_PORT: Input should be a valid integer"),
        (["--campaign", "missing.toml"], {}, 2, "missing.toml: No such file"),
        ([], {"GRAB_REDIS_URL": "unix:///nowhere.sock"}, 2, "trouble with the gate at unix:///nowhere.sock"),
        ([], {"GRAB_DATABASE_URL": "postgresql://u:geheim@127.0.0.1:1/d"}, 2, "trouble with the vault"),
        (["--opens-in", "-1"], {}, 2, "--opens-in"),
    ],
)
def test_what_cannot_work_is_said_in_a_sentence(
    short_dir: Path, arguments: list[str], variables: dict[str, str], code: int, sentence: str
) -> None:
    """No traceback, nothing on standard output, no password, and nothing is left running."""
    directory = short_dir / "refused"
    done = grab("up", "--data-dir", directory, *arguments, **({"GRAB_PORT": "0"} | variables))
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr
    assert list(directory.glob("run/*.pid")) == []


def test_a_taken_port_is_said_before_anything_is_started(short_dir: Path) -> None:
    """The sentence names the address; the servers were not even begun."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = grab("up", "--port", str(port), "--data-dir", short_dir / "taken")
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1, port {port}" in done.stderr
    assert not (short_dir / "taken" / "valkey").exists()


def test_a_data_directory_that_is_none_is_said(short_dir: Path) -> None:
    """A file stands where the directory should be."""
    path = short_dir / "file"
    path.touch()
    done = grab("up", "--data-dir", path)
    assert done.returncode == 2
    assert f"cannot keep data in {path}" in done.stderr
