"""What is refused in a campaign file, in which line and with which advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from grab_service.campaign import FILE_CHARACTERS_MAX, CampaignInvalid, Problem, parse_campaign, read_campaign

FILE = Path(__file__).parents[2] / "campaigns" / "qijiang-2023.toml"
TEXT = FILE.read_text(encoding="utf-8")
R1_OPENS, R2_OPENS = "opens_at = 2023-12-03T10:00:00+08:00", "opens_at = 2023-12-04T10:00:00+08:00"


def problems_of(text: str) -> list[Problem]:
    """Everything that is wrong with ``text``."""
    with pytest.raises(CampaignInvalid) as refused:
        parse_campaign(text)
    return list(refused.value.problems)


def line_of(text: str, part: str) -> int:
    """The line of the only place where ``text`` has ``part``."""
    assert text.count(part) == 1, f"{part} must be there exactly once"
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        # Money
        (
            "budget_fen = 50_000_000",
            "budget_fen = 49_999_999",
            "rounds[1].budget_fen is 49,999,999, but the sum of quantity × discount is 50,000,000",
        ),
        (
            "fund_fen = 100_000_000",
            "fund_fen = 99_999_999",
            "fund_fen is 99,999,999, but the budgets of the rounds are 100,000,000",
        ),
        ("fund_fen = 100_000_000", "fund_fen = 1_000_000.00", "fund_fen must be a whole number"),
        ("fund_fen = 100_000_000", 'fund_fen = "100_000_000"', "fund_fen must be a whole number, without quotes"),
        ("fund_fen = 100_000_000", "fund_fen = true", "fund_fen must be a whole number"),
        # Instants and windows
        (R1_OPENS, "opens_at = 2023-12-03T10:00:00", "rounds[1].opens_at has no offset"),
        (R1_OPENS, "opens_at = 2023-12-03", "rounds[1].opens_at must be an instant"),
        (R1_OPENS, 'opens_at = "2023-12-03T10:00:00+08:00"', "rounds[1].opens_at must be an instant"),
        (
            "closes_at = 2023-12-04T10:00:00+08:00",
            "closes_at = 2023-12-03T10:00:00+08:00",
            "rounds[1].closes_at is not after opens_at",
        ),
        (
            "closes_at = 2023-12-11T00:00:00+08:00",
            "closes_at = 2023-12-11T00:00:01+08:00",
            "rounds[2].closes_at is after available_until",
        ),
        (
            "settle_by = 2024-02-04T00:00:00+08:00",
            "settle_by = 2023-12-11T00:00:00+08:00",
            "settle_by is not after available_until",
        ),
        (
            "settle_by = 2024-02-04T00:00:00+08:00",
            "settle_by = 2024-02-04T00:00:01+08:00",
            "settle_by is more than two months after the first opening: write 2024-02-04T00:00:00+08:00",
        ),
        (R2_OPENS, "opens_at = 2023-12-04T09:59:59+08:00", "rounds[2].opens_at is before rounds[1] closes"),
        # Names
        ('platform = "', 'plattform = "', "plattform is not a known name"),
        ('round_id = "r2"', 'round_id = "r1" # twice', "rounds[2].round_id is 'r1' for the second time"),
        ('name = "第二场"', 'name = "第一场" # twice', "rounds[2].name is '第一场' for the second time"),
        (
            'class_code = "dining"',
            'class_code = "general" # twice',
            "classes[2].class_code is 'general' for the second",
        ),
        ("tier = 2", "tier = 1 # twice", "classes[1].tiers[2].tier is 1 for the second time"),
        ('["50"]', '["50", "50"]', "eligible_regions[2] is '50' for the second time"),
        ("dining-2 = 2_500   #", "dinning-2 = 2_500 #", "rounds[1].quantities.dinning-2 is no declared class and tier"),
        ("dining-2 = 2_500   #", "dining-3 = 2_500 #", "(general-1, general-2, dining-1, dining-2)"),
        ('limit_scope = "round"', 'limit_scope = "day"', "limit_scope must be 'round' or 'campaign'"),
        ('["payment_code"]', '["payment-code"]', "merchants.accepts[1] must be 'payment_code' or 'scan'"),
        ('name = "通用券"', 'name = ""', "classes[1].name must not be empty"),
        ('name = "通用券"', f'name = "{"券" * 65}"', "classes[1].name must have at most 64 characters"),
        # Identifiers
        ('"qijiang-2023"', '"Qijiang-2023"', "campaign_id must be small letters"),
        ('"qijiang-2023"', '"qijiang--2023"', "campaign_id must be small letters"),
        ('"qijiang-2023"', '"qijiang-2023\\n"', "campaign_id must be small letters"),
        ('"qijiang-2023"', f'"{"q" * 33}"', "at most 32 characters"),
        ('"qijiang-2023"', '"綦江-2023"', "campaign_id must be small letters a-z"),
        ('round_id = "r1"', 'round_id = "r-1"', "rounds[1].round_id must be a small letter"),
        ('round_id = "r1"', 'round_id = "1"', "rounds[1].round_id must be a small letter"),
        ('class_code = "dining"', 'class_code = "dining-out"', "classes[2].class_code must be a small letter"),
        ('class_code = "dining"', 'class_code = "餐饮"', "classes[2].class_code must be a small letter"),
        # Regions
        ('["50"]', '["5"]', "eligible_regions[1] must be the first 2, 4 or all 6 digits"),
        ('["50"]', '["50x"]', "eligible_regions[1] must be the first 2, 4 or all 6 digits"),
        ('["50"]', '["５０"]', "eligible_regions[1] must be the first 2, 4 or all 6 digits"),
        ('["50"]', "[50]", "eligible_regions[1] must be text in quotes"),
        ('["50"]', '"50"', "eligible_regions must be a list"),
        ('["50"]', "[]", "eligible_regions must not be empty"),
        # Bounds
        ("general-1 = 3_000  #", "general-1 = 0 #", "rounds[1].quantities.general-1 must be greater than 0"),
        ("general-1 = 3_000  #", "general-1 = 10_000_001 #", "general-1 must be at most 10000000"),
        ("# per_user_per_round = 1", "per_user_per_round = 0", "per_user_per_round must be greater than 0"),
        ("tier = 2", "tier = 100", "classes[1].tiers[2].tier must be at most 99"),
        # Tables
        ("[merchants]", "[[merchants]]", "merchants must be a table"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_what_to_do(old: str, new: str, sentence: str) -> None:
    """One mistake in the real file is found in its line, said in a sentence and stopped from being used."""
    text = TEXT.replace(old, new, 1)

    found = [problem for problem in problems_of(text) if sentence in problem.sentence]

    assert [problem.line for problem in found] == [line_of(text, new)]
    assert found[0].sentence.endswith(".")


@pytest.mark.parametrize(
    ("threshold_fen", "discount_fen"),
    [("3_000", "3_000"), ("10_000", "10_001")],
)
def test_a_discount_that_is_not_below_its_threshold_is_refused(threshold_fen: str, discount_fen: str) -> None:
    """A voucher never pays the whole purchase."""
    text = TEXT.replace("threshold_fen = 10_000 ", f"threshold_fen = {threshold_fen} ")
    text = text.replace("discount_fen = 3_000 ", f"discount_fen = {discount_fen} ")

    found = [problem for problem in problems_of(text) if "threshold" in problem.sentence]

    assert [problem.where for problem in found] == ["classes[1].tiers[1].discount_fen"]
    assert found[0].line == line_of(text, f"discount_fen = {discount_fen} ")


def test_a_round_within_a_longer_one_is_an_overlap() -> None:
    """Also rounds that are not neighbours in time, in whatever order the file has them, do not overlap."""
    third = """
[[rounds]]
round_id = "r3"
name = "加场"
opens_at = 2023-12-03T00:00:00+08:00
closes_at = 2023-12-09T00:00:00+08:00
budget_fen = 3_000

[rounds.quantities]
general-1 = 1
"""
    text = TEXT.replace("fund_fen = 100", "fund_fen = 101") + third

    assert [(problem.line, problem.sentence) for problem in problems_of(text)] == [
        (line_of(text, R1_OPENS), "rounds[1].opens_at is before rounds[3] closes: rounds must not overlap, move one."),
        (line_of(text, R2_OPENS), "rounds[2].opens_at is before rounds[3] closes: rounds must not overlap, move one."),
    ]


def test_a_missing_value_is_reported_where_it_should_be_added() -> None:
    """The line is that of the table; what is missing at the top concerns the whole file."""
    text = TEXT.replace('name = "第二场"\n', "").replace('platform = "', '# platform = "')

    assert [(problem.line, problem.sentence) for problem in problems_of(text)] == [
        (None, "platform is missing: add it."),
        (line_of(text, '[[rounds]]\nround_id = "r2"'), "rounds[2].name is missing: add it."),
    ]


def test_every_mistake_is_reported_at_once_and_only_once() -> None:
    """Wrong shapes do not hide broken rules, nor are they blamed a second time; the order is the file's."""
    text = (
        TEXT.replace("fund_fen = 100_000_000", "fund_fen = 1_000_000")
        .replace('["50"]', '["5"]')
        .replace("tier = 2", "tier = 1", 1)
        .replace(R1_OPENS, "opens_at = 2023-12-03T10:00:00")
        .replace("budget_fen = 50_000_000", "budget_fen = 50_000_001", 1)
        .replace('name = "第二场"', 'titel = "第二场"')
        .replace("dining-2 = 2_500\n", "dining-2 = -1\n")
    )

    assert [problem.where for problem in problems_of(text)] == [
        "fund_fen",
        "eligible_regions[1]",
        "classes[1].tiers[2].tier",
        "rounds[1].opens_at",
        "rounds[1].quantities.general-2",
        "rounds[2].name",
        "rounds[2].titel",
        "rounds[2].quantities.general-2",
        "rounds[2].quantities.dining-2",
    ]


def test_a_table_of_the_wrong_kind_hides_nothing_else() -> None:
    """Rules leave alone what they cannot read, whatever stands there instead."""
    text = "classes = 1\nrounds = [2]\nmerchants = [3]\nfund_fen = 0\neligible_regions = { a = 4 }\n"

    found = {problem.where: problem.line for problem in problems_of(text) if "missing" not in problem.sentence}

    assert found == {"classes": 1, "rounds[1]": 2, "merchants": 3, "fund_fen": 4, "eligible_regions": 5}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('limit_scope = "round"', "limit_scope = “round”", "This is not TOML: Invalid value"),
        ('name = "第二场"', 'round_id = "r2b"', "This is not TOML: Cannot overwrite a value"),
        ("[merchants]", "[merchants", "This is not TOML:"),
    ],
)
def test_a_file_that_is_not_toml_is_reported_with_its_line(old: str, new: str, sentence: str) -> None:
    """Full-width quotes, a name twice in a table and a header that is not closed are found where they stand."""
    text = TEXT.replace(old, new)

    (problem,) = problems_of(text)

    assert problem.line == line_of(text, new)
    assert problem.sentence.startswith(sentence)


def test_a_text_that_never_ends_is_reported_at_the_end_of_the_file() -> None:
    """The last line is the one where the reader gave up."""
    text = 'name = """\nabc\n\n'

    (problem,) = problems_of(text)

    assert problem.line == 2


@pytest.mark.parametrize("text", ["#" * (FILE_CHARACTERS_MAX + 1), "a = " + "[" * 20_000])
def test_what_cannot_be_a_campaign_file_is_refused_quickly(text: str) -> None:
    """Neither size nor depth is more than a sentence."""
    assert len(problems_of(text)) == 1


def test_a_file_in_another_encoding_is_reported_with_its_line(tmp_path: Path) -> None:
    """GBK, which some editors save Chinese in, is named as what it is: not UTF-8."""
    file = tmp_path / "campaign.toml"
    file.write_bytes('campaign_id = "a"\nname = "消费券"\n'.encode("gbk"))

    with pytest.raises(CampaignInvalid) as refused:
        read_campaign(file)

    assert str(refused.value) == "campaign:2: This line is not UTF-8: save the file as UTF-8."


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    """Editors of some systems put one in front of UTF-8."""
    file = tmp_path / "campaign.toml"
    file.write_text(TEXT, encoding="utf-8-sig")

    assert read_campaign(file) == parse_campaign(TEXT)


def test_a_problem_is_written_as_compilers_do() -> None:
    """``FILE:LINE: sentence``, without the line where the whole file is concerned."""
    assert Problem(3, "name", "name is missing: add it.").in_file("a.toml") == "a.toml:3: name is missing: add it."
    assert Problem(None, "name", "name is missing: add it.").in_file("a.toml") == "a.toml: name is missing: add it."
