"""Forgeries: each changes the evidence of an honest world by hand, as one fault of the service would have.

What stands in ``forges`` is exactly what the checker must report: a fault often breaks several promises
at once, since the evidence overlaps.
"""

from __future__ import annotations

from dataclasses import replace

from loadtest.chaos.check_case import FENCED, Claim, Recovery
from loadtest.chaos.history import PENDING, SOLD_OUT, UNKNOWN, Operation

from tests.chaos.forgery import forges, registered
from tests.chaos.world import FULL, PART, START_MS, STEP_MS, World, entry_of, hash_of, ref_of


def _new_row(world: World, user: str, stock_id: str, claim_no: int) -> Claim:
    """Give a user a row of the last epoch that he has asked for, with an entry and no holding."""
    asked_ms = world.now_ms
    world.history.append(Operation(asked_ms - 10, asked_ms + 10, user, stock_id, UNKNOWN, 0))
    claim = Claim(stock_id, claim_no, ref_of(user), world.epoch, asked_ms, 0, hash_of(stock_id, claim_no))
    world.claims.append(claim)
    world.committed[stock_id] = str(claim.stream_id)
    return claim


# I-1, I-2, I-3: the caps ---------------------------------------------------------------------------------


@forges("I-1")
def _a_voucher_was_not_minted(world: World) -> None:
    world.stocks[PART] = replace(world.stocks[PART], minted=4)


@forges("I-1", "I-14")
def _a_number_that_does_not_exist_is_sold(world: World) -> None:
    world.hold(_new_row(world, "ivo", PART, 6))


@forges("I-1", "I-2", "I-8", "I-14", "I-16")
def _one_more_is_sold_than_there_are(world: World) -> None:
    world.hold(_new_row(world, "ivo", FULL, 4))


@forges("I-2", "I-14", "I-16")
def _a_voucher_has_two_owners(world: World) -> None:
    world.hold(_new_row(world, "ivo", PART, 2))


@forges("I-2")
def _two_vouchers_have_one_code(world: World) -> None:
    world.change_row("gus", PART, code_hash=hash_of(PART, 2))


@forges("I-3")
def _a_user_has_two_vouchers_under_one_limit(world: World) -> None:
    for stock_id in (FULL, PART):
        world.stocks[stock_id] = replace(world.stocks[stock_id], limit="both")


@forges("I-3")
def _a_user_has_more_of_a_round_than_it_allows(world: World) -> None:
    world.round = replace(world.round, per_user_max=1)


@forges("I-3", "I-14", "I-16")
def _a_user_has_two_vouchers_of_a_stock(world: World) -> None:
    _new_row(world, "gus", PART, 4)


# I-4, I-5, I-6: what was told and what is owned ------------------------------------------------------------


@forges("I-4")
def _a_yes_is_lost(world: World) -> None:
    lost = world.claim_of("fay", PART)
    world.claims.remove(lost)
    world.forget_at_gate(lost)
    world.free[PART].append(lost.claim_no)


@forges("I-4")
def _another_number_was_told(world: World) -> None:
    world.change_answer(world.answers_of("fay", PART)[0], claim_no=3)


@forges("I-4")
def _another_code_was_told(world: World) -> None:
    world.change_answer(world.answers_of("fay", PART)[0], voucher_code="0" * 17)


@forges("I-4")
def _another_instant_was_told(world: World) -> None:
    world.change_answer(world.answers_of("fay", PART)[0], claimed_at="2023-11-15T06:13:20.000+08:00")


@forges("I-4")
def _a_yes_without_a_voucher_was_told(world: World) -> None:
    world.change_answer(world.answers_of("fay", PART)[0], claim_no=None, voucher_code=None, claimed_at="soon")


@forges("I-4", "I-5")
def _a_yes_was_told_to_somebody_else(world: World) -> None:
    world.change_answer(world.answers_of("fay", PART)[0], user="ivo")


@forges("I-5")
def _a_voucher_was_given_to_one_who_never_asked(world: World) -> None:
    del world.history[world.answers_of("gus", PART)[0]]


@forges("I-5")
def _a_voucher_was_given_before_it_was_asked_for(world: World) -> None:
    at = world.answers_of("gus", PART)[0]
    asked = world.history[at]
    world.change_answer(at, at_start_ms=asked.at_start_ms + 5000, at_end_ms=asked.at_end_ms + 5000)


@forges("I-5", "I-14")
def _two_vouchers_come_of_one_entry(world: World) -> None:
    fay = world.claim_of("fay", PART)
    gus = world.change_row("gus", PART, stream_ms=fay.stream_ms, stream_seq=fay.stream_seq)
    world.change_answer(world.answers_of("gus", PART)[0], at_start_ms=fay.stream_ms - 10)
    world.forget_at_gate(replace(gus, stream_ms=gus.stream_ms + STEP_MS))


@forges("I-5", "I-14")
def _a_claim_is_of_no_entry(world: World) -> None:
    world.change_row("gus", PART, stream_seq=-1)


@forges("I-4", "I-6")
def _the_second_answer_differs(world: World) -> None:
    world.change_answer(world.answers_of("ann", FULL)[1], claim_no=2)


# I-7, I-8, I-9: hours and refusals -------------------------------------------------------------------------


@forges("I-7")
def _a_claim_was_made_before_the_opening(world: World) -> None:
    world.round = replace(world.round, opens_ms=START_MS + 1)


@forges("I-7")
def _a_claim_was_made_at_the_end(world: World) -> None:
    world.round = replace(world.round, closes_ms=world.claim_of("dan", FULL).stream_ms)


def _say_sold_out(world: World, at_ms: float, stock_id: str = FULL) -> None:
    world.history.append(Operation(at_ms, at_ms + 10, "kim", stock_id, SOLD_OUT, 409))


@forges("I-8")
def _sold_out_was_said_before_the_last_was_won(world: World) -> None:
    _say_sold_out(world, world.claim_of("dan", FULL).stream_ms - 500)


@forges("I-8")
def _sold_out_was_said_while_the_last_winner_had_asked_already(world: World) -> None:
    won_ms = world.claim_of("dan", FULL).stream_ms
    world.change_answer(world.answers_of("dan", FULL)[0], at_start_ms=won_ms - 600)
    _say_sold_out(world, won_ms - 500)


@forges("I-8")
def _sold_out_was_said_before_one_won_whose_answer_was_lost(world: World) -> None:
    world.change_answer(world.answers_of("dan", FULL)[0], status=200)
    _say_sold_out(world, world.claim_of("dan", FULL).stream_ms - 500)
    world.recoveries.append(Recovery(world.now_ms, world.now_ms + 1))  # hides what was reserved, not who won


@forges("I-8")
def _sold_out_was_said_before_one_won_who_had_asked_long_ago(world: World) -> None:
    won_ms = world.claim_of("dan", FULL).stream_ms
    world.history.append(Operation(won_ms - 900, won_ms - 800, "dan", FULL, UNKNOWN, 0))
    _say_sold_out(world, won_ms - 500)
    world.recoveries.append(Recovery(world.now_ms, world.now_ms + 1))  # as above


@forges("I-8", "I-9")
def _sold_out_was_said_of_a_stock_that_is_not(world: World) -> None:
    _say_sold_out(world, world.now_ms, PART)


@forges("I-8", "I-9")
def _a_fenced_number_of_an_earlier_epoch_is_sold_to_nobody(world: World) -> None:
    last = world.claim_of("dan", FULL)
    world.claims.remove(last)
    world.forget_at_gate(last)
    world.free[FULL].append(last.claim_no)
    world.committed[FULL] = str(world.claim_of("cid", FULL).stream_id)
    del world.history[world.answers_of("dan", FULL)[0]]
    world.bury(replace(last, epoch=1, stream_ms=START_MS + 1), FENCED)


@forges("I-9")
def _a_user_waits_for_ever(world: World) -> None:
    world.history.append(Operation(world.now_ms, world.now_ms + 10, "ivo", PART, PENDING, 202))


@forges("I-9")
def _the_watermark_stays_behind(world: World) -> None:
    world.committed[PART] = str(world.claim_of("fay", PART).stream_id)


# I-13, I-14: fence and agreement ---------------------------------------------------------------------------


@forges("I-13")
def _a_claim_is_of_an_epoch_to_come(world: World) -> None:
    world.change_everywhere("gus", PART, epoch=3)


@forges("I-13")
def _a_claim_of_the_last_epoch_was_recorded_in_this_one(world: World) -> None:
    world.change_everywhere("gus", PART, epoch=1)


@forges("I-13")
def _a_fenced_entry_was_recorded(world: World) -> None:
    world.bury(world.claim_of("gus", PART), FENCED)


@forges("I-13")
def _the_gate_sells_under_an_epoch_that_is_over(world: World) -> None:
    world.round = replace(world.round, epoch=world.epoch + 1)


@forges("I-14")
def _the_gate_is_closed(world: World) -> None:
    world.closed.add(PART)


@forges("I-14")
def _the_gate_does_not_know_a_stock(world: World) -> None:
    del world.holders[PART]


@forges("I-14")
def _a_free_number_is_gone(world: World) -> None:
    world.free[PART].remove(5)


@forges("I-14")
def _a_number_is_free_twice(world: World) -> None:
    world.free[PART].append(5)


@forges("I-14")
def _a_held_number_is_free_as_well(world: World) -> None:
    world.free[PART].append(1)


@forges("I-14")
def _a_holder_owns_nothing(world: World) -> None:
    world.free[PART].remove(5)
    world.holders[PART][ref_of("ivo")] = f"5:{world.epoch}:{world.now_ms}-0"


@forges("I-14")
def _an_owner_holds_another_number(world: World) -> None:
    gus = world.claim_of("gus", PART)
    world.holders[PART][gus.user_ref] = f"5:{gus.epoch}:{gus.stream_id}"
    world.free[PART].remove(5)
    world.free[PART].append(gus.claim_no)


@forges("I-14")
def _an_entry_is_neither_recorded_nor_refused(world: World) -> None:
    fields = {"v": "1", "epoch": str(world.epoch), "claim_no": "5", "user_ref": ref_of("ivo")}
    world.committed[PART] = f"{world.now_ms}-0"
    world.entries[PART].append((world.committed[PART], fields))


# I-15, I-16: what stays, and what counts once ---------------------------------------------------------------


@forges("I-15")
def _a_row_has_another_owner_than_it_had(world: World) -> None:
    world.earlier[0] = replace(world.earlier[0], user_ref=ref_of("ivo"))


@forges("I-15")
def _a_row_is_gone(world: World) -> None:
    world.earlier.append(replace(world.claim_of("gus", PART), claim_no=5))


@forges("I-15")
def _a_dead_letter_has_another_reason_than_it_had(world: World) -> None:
    world.earlier_letters[0] = replace(world.earlier_letters[0], reason="CONFLICT")


@forges("I-15")
def _a_stock_has_another_quantity_than_it_had(world: World) -> None:
    world.earlier_stocks[PART] = replace(world.stocks[PART], quantity=6)


@forges("I-15")
def _a_round_opened_at_another_time_than_it_was_to(world: World) -> None:
    world.earlier_round = replace(world.round, opens_ms=world.round.opens_ms + 1)


@forges("I-15")
def _an_epoch_went_back(world: World) -> None:
    world.earlier_epoch = world.epoch + 1


@forges("I-15")
def _a_round_is_gone(world: World) -> None:
    world.earlier_rounds["c/r0"] = world.round


@forges("I-16")
def _a_user_took_two_numbers(world: World) -> None:
    gus = world.claim_of("gus", PART)
    second = replace(gus, claim_no=5, stream_seq=1)
    world.entries[PART].append((str(second.stream_id), entry_of(second)))
    world.committed[PART] = str(second.stream_id)
    world.bury(second, "CONFLICT")


@forges("I-16")
def _a_number_was_taken_twice(world: World) -> None:
    gus = world.claim_of("gus", PART)
    second = replace(gus, user_ref=ref_of("ivo"), stream_seq=1)
    world.entries[PART].append((str(second.stream_id), entry_of(second)))
    world.committed[PART] = str(second.stream_id)
    world.bury(second, "CONFLICT")


FORGERIES = registered()
