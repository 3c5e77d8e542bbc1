"""Counts that several processes share."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from grab_service.api.sheets import Sheets

_A, _LEVEL = ("claims", "stock-1"), ("inflight",)
_ADDITIONS = 20_000


def _count(directory: Path) -> None:
    sheets = Sheets(directory)
    words, place = sheets.own.words, sheets.own.cells(_A, 3)
    for _ in range(_ADDITIONS):
        words[place + 1] += 1


def test_the_sum_over_processes_is_exact(tmp_path: Path) -> None:
    """Four processes count at the same time: not one count is lost, and they stay when the processes are gone."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_count, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert Sheets(tmp_path).totals()[_A] == [0, 4 * _ADDITIONS, 0]


def test_a_process_that_comes_again_goes_on_with_the_counts_of_one_that_is_gone(tmp_path: Path) -> None:
    """The sum never goes back, and no file is added for each restart."""
    first = Sheets(tmp_path)
    first.own.words[first.own.cells(_A)] += 5
    first.close()
    again = Sheets(tmp_path)
    again.own.words[again.own.cells(_A)] += 1
    assert again.totals()[_A] == [6]
    assert len(list(tmp_path.iterdir())) == again.processes == 1


def test_processes_that_live_have_sheets_of_their_own(tmp_path: Path) -> None:
    """Both are summed, whoever is asked."""
    sheets = [Sheets(tmp_path), Sheets(tmp_path)]
    for each in sheets:
        each.own.words[each.own.cells(_A)] += 1
    assert [each.totals()[_A] for each in sheets] == [[2], [2]]
    assert sheets[0].processes == 2


def test_a_level_of_a_process_that_is_gone_is_not_summed(tmp_path: Path) -> None:
    """Requests under way end with their process; whoever takes up its sheet begins at 0."""
    gone, lives = Sheets(tmp_path), Sheets(tmp_path)
    for each, level in ((gone, 7), (lives, 2)):
        each.own.words[each.own.cells(_LEVEL, is_level=True)] = level
    gone.close()
    assert lives.totals()[_LEVEL] == [2]
    Sheets(tmp_path)
    assert lives.totals()[_LEVEL] == [2]


def test_what_has_no_room_is_said_and_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A sheet that is full loses new series; those that it has go on."""
    sheets = Sheets(None)
    place = sheets.own.cells(_A)
    number = lost = 0
    while not caplog.records:
        lost = sheets.own.cells((f"series-{number}",), 50)
        number += 1
    sheets.own.words[lost] += 1
    sheets.own.words[place] += 1
    assert sheets.totals()[_A] == [1]
    assert (f"series-{number - 1}",) not in sheets.totals()
    assert "no room to count series-" in caplog.text
