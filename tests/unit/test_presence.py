"""Proof of presence: whoever has not worked for this very challenge, in time, gets no ticket."""

from __future__ import annotations

import hashlib

import pytest

from grab_service.presence import Work, solve

SECRET = b"s" * 32
BITS, NOW_S = 6, 1_700_000_000.0


@pytest.fixture
def work() -> Work:
    """A provider with easy challenges."""
    return Work(SECRET, BITS)


def test_work_is_accepted_once(work: Work) -> None:
    """The hash begins with the zeros that are asked for, and the answer is good once."""
    challenge = work.challenge("user", NOW_S)
    answer = solve(challenge.text, challenge.bits)
    assert hashlib.sha256((challenge.text + answer).encode()).digest()[0] >> (8 - BITS) == 0
    assert work.fault(challenge.text, answer, "user", NOW_S + 59) is None
    assert "answered already" in str(work.fault(challenge.text, answer, "user", NOW_S + 59))


def test_any_process_accepts_it(work: Work) -> None:
    """Nothing is stored for a challenge: another process of the service judges it as well."""
    challenge = work.challenge("user", NOW_S)
    assert Work(SECRET, BITS).fault(challenge.text, solve(challenge.text, BITS), "user", NOW_S) is None


@pytest.mark.parametrize("text", ["", ".", "p1", "p1.1.1.1.1", "p1.9999999999.0.00.{mac}", "é.1"])
def test_a_made_up_challenge_is_refused(work: Work, text: str) -> None:
    """Only the service makes challenges."""
    challenge = text.replace("{mac}", "0" * 32)
    assert "not one that you were given" in str(work.fault(challenge, "0", "user", NOW_S))


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_a_challenge_that_was_changed_is_refused(work: Work, place: int) -> None:
    """Neither its end nor its difficulty nor its salt can be chosen."""
    parts = work.challenge("user", NOW_S).text.split(".")
    parts[place] = "1" if parts[place] != "1" else "2"
    assert "not one that you were given" in str(work.fault(".".join(parts), "0", "user", NOW_S))


def test_a_challenge_of_another_user_is_refused(work: Work) -> None:
    """Work that one account has done is worth nothing to the next."""
    challenge = work.challenge("user", NOW_S)
    assert work.fault(challenge.text, solve(challenge.text, BITS), "other", NOW_S) is not None


def test_a_challenge_ends(work: Work) -> None:
    """Nobody works ahead for more than a minute."""
    challenge = work.challenge("user", NOW_S)
    assert "expired" in str(work.fault(challenge.text, solve(challenge.text, BITS), "user", NOW_S + 60))


def test_a_challenge_from_before_it_got_harder_is_refused(work: Work) -> None:
    """When the operator asks for more, the easy ones are over at once."""
    challenge = work.challenge("user", NOW_S)
    answer = solve(challenge.text, BITS)
    assert "easier" in str(Work(SECRET, BITS + 1).fault(challenge.text, answer, "user", NOW_S))


def test_a_wrong_answer_is_refused_and_the_right_one_stays_good(work: Work) -> None:
    """A slip costs nothing."""
    challenge = work.challenge("user", NOW_S)
    answer = solve(challenge.text, BITS)
    wrong = next(str(number) for number in range(1_000) if str(number) != answer and _is_wrong(challenge.text, number))
    assert "does not solve" in str(work.fault(challenge.text, wrong, "user", NOW_S))
    assert work.fault(challenge.text, answer, "user", NOW_S) is None


def _is_wrong(challenge: str, number: int) -> bool:
    return hashlib.sha256(f"{challenge}{number}".encode()).digest()[0] >> (8 - BITS) != 0


def test_answered_challenges_are_forgotten_when_they_have_ended(work: Work) -> None:
    """The memory holds a minute's answers."""
    for minute in range(3):
        now_s = NOW_S + 61 * minute
        challenge = work.challenge("user", now_s)
        assert work.fault(challenge.text, solve(challenge.text, BITS), "user", now_s) is None
        assert len(work._used) == 1
