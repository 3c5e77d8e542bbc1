"""The integrators' page is made from the code."""

from __future__ import annotations

import pytest
from tools import api_docs


@pytest.mark.parametrize("language", api_docs.PAGES)
def test_the_page_is_what_the_code_says(language: str) -> None:
    """The committed page is the one that ``make api-docs`` writes."""
    assert api_docs.PAGES[language].read_text(encoding="utf-8") == api_docs.page(language), "run 'make api-docs'"


def test_every_call_has_an_example() -> None:
    """Each operation of the OpenAPI document is shown in curl and in Python, and nothing else is."""
    assert set(api_docs.examples()["calls"]) == set(api_docs.operations())
