"""Each key line by which the scripts keep what is pointed to and let the rest go; ``test_mutants.py`` tries them."""

from __future__ import annotations

from functools import partial

from tests.ledger import test_sift as sift
from tests.ledger.chord_mutants import Mutant

cancelled = partial(sift.test_what_runs_when_its_request_ends_keeps_nothing, end="cancel")
too_many = partial(
    sift.test_the_answer_that_is_too_much_fails_and_the_others_stay, cap="request_max_items", named="250 items"
)

MUTANTS = (
    Mutant("what is pointed to goes", "if is_pointed_to(head, ref, rec, number) then", "if false then",
           sift.test_what_a_value_points_to_stays_until_its_request_goes, random=False),
    Mutant("a value outlives its request", "if not head then return nil end", "if not head then return NOW + 1e9 end",
           sift.test_what_a_value_points_to_stays_until_its_request_goes, random=False),
    Mutant("a step's value goes", "for step = 0, (rec and rec.step or 0) - 1 do", "for step = 0, -1 do",
           sift.test_a_chain_keeps_what_its_steps_made, random=False),
    Mutant("keys that begin alike are one", "return last and not string.find(value, '^%d', last + 1)", "return last",
           sift.test_an_attempts_key_is_not_taken_for_one_that_begins_alike, random=False),
    Mutant("who may come home loses all", "return not is_over and not is_of_before and NOW + A.look_ms or nil",
           "return nil", sift.test_an_attempt_that_was_given_up_may_still_come_home_with_what_it_stored, random=False),
    Mutant("who lost keeps all", "local is_over = not rec or RUN_ENDED[rec.state]", "local is_over = not rec",
           sift.test_what_the_winner_did_not_store_goes_when_the_run_has_ended, random=False),
    Mutant("who was cancelled keeps all", "local is_over = not rec or RUN_ENDED[rec.state] or REQUEST_ENDED[head.state]"
           " and not is_link(ref)", "local is_over = false", cancelled, random=False),
    Mutant("the generation before keeps all", "tonumber(string.match(number, '^%d+')) ~= head.generation", "false",
           sift.test_what_an_attempt_of_the_generation_before_stored_goes, random=False),
    Mutant("unwanted is as any other", "if A.unwanted then", "if false then",
           sift.test_what_an_attempt_says_is_unwanted_goes_at_once, random=False),
    Mutant("what is handed out is forgotten", "redis.call('ZADD', STORED, NOW + HAND_OUT_MS, entry)",
           "redis.call('ZREM', STORED, entry)",
           sift.test_what_is_handed_out_comes_again_until_it_is_said_to_be_gone, random=False),
    Mutant("removed once is removed for good", "if string.sub(entry, 1, 2) ~= '!!' then", "if false then",
           sift.test_what_was_removed_is_removed_once_more_for_a_process_that_was_only_taken_for_dead, random=False),
    Mutant("a retry keeps what stages made", "look_soon(head.id, redis.call('HMGET'", "select('#', redis.call('HMGET'",
           sift.test_what_a_stage_made_of_the_generation_before_goes_with_the_retry, random=False),
    Mutant("what is forgotten stays", "look_soon(head.id, redis.call('HVALS'", "select('#', redis.call('HVALS'",
           sift.test_what_is_forgotten_goes_at_once, random=False),
    Mutant("nobody sifts", "reply.stored = #redis.call('ZRANGEBYSCORE', STORED, '-inf', NOW, 'LIMIT', 0, 1) > 0 or nil",
           "reply.stored = nil", sift.test_a_sweep_says_whether_there_is_anything_to_sift, random=False),
    Mutant("a request has no cap", "if most and (head[field] or 0) + more > most then", "if false then",
           too_many, random=False),
    Mutant("answers are not added up", "fields.items, fields.bytes = (head.items or 0) + (rec.items or 0), ",
           "fields.items, fields.bytes = 0, ", too_many, random=False),
)  # fmt: skip
