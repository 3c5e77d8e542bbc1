"""What the look for published weaknesses makes of its answers."""

from __future__ import annotations

import datetime as dt

from tools.audit_dependencies import IGNORED, ignored, judge

TODAY = dt.date(2026, 12, 1)
ENTRY = '[[ignored]]\nid = "GHSA-1"\nreason = "not used here"\nuntil = {}\n'


def test_a_weakness_is_ignored_with_a_reason_until_a_day() -> None:
    """Afterwards, or without a reason, the audit fails whatever the database says."""
    assert ignored(ENTRY.format("2026-12-01"), TODAY) == (["GHSA-1"], [])
    ids, wrong = ignored(ENTRY.format("2026-11-30"), TODAY)
    assert (ids, len(wrong)) == ([], 1)
    assert "look at it again" in wrong[0]
    assert ignored('[[ignored]]\nid = "GHSA-1"\n', TODAY)[1]
    assert ignored(IGNORED.read_text(), dt.datetime.now(dt.UTC).date())[1] == []


def test_weak_unknown_and_sound_are_told_apart() -> None:
    """A weakness counts more than what could not be looked up, and nothing that was not looked up counts as sound."""
    sound = {"name": "a", "version": "1", "vulns": []}
    weak = {"name": "b", "version": "2", "vulns": [{"id": "GHSA-2", "fix_versions": ["3"]}]}
    unknown = {"name": "c", "skip_reason": "not found"}
    assert judge({"dependencies": [sound]})[0] == 0
    assert judge({"dependencies": [sound, weak, unknown]}) == (1, ["b 2: GHSA-2, mended in 3"])
    assert judge({"dependencies": [sound, unknown]})[0] == 2
    assert judge(None)[0] == 2
