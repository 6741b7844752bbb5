"""Each key line of the scripts, taken out or turned round: a test must notice.

A mutant is a replacement in the text of the scripts, and the tests that promise to catch it. The random
machine of ``test_stateful.py`` must catch those marked so, too.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from celery_collectors.ledger import asking, scripts
from tests.ledger import chord_mutants, control_mutants, payload_mutants, together_mutants
from tests.ledger import test_advance as advance
from tests.ledger import test_backlog as backlog
from tests.ledger import test_cancel as cancel
from tests.ledger import test_claim as claim
from tests.ledger import test_policy as policy
from tests.ledger import test_renew as renew
from tests.ledger import test_settle as settle
from tests.ledger import test_start as start
from tests.ledger import test_unregistered as unregistered
from tests.ledger.chord_mutants import Mutant
from tests.ledger.test_stateful import machine
from tests.ledger.world import World

MUTANTS = (
    Mutant("a slow confirmation hides what was given back", "elseif current and returned(rec) and", "elseif false and",
           unregistered.test_a_confirmation_that_is_slower_than_the_worker_does_not_hide_it, random=False),
    Mutant("what is given back comes at once", "math.min(NOW + pause, rec.expires_at", "math.min(NOW, rec.expires_at",
           unregistered.test_it_comes_again_after_a_pause_and_nothing_is_counted_against_it, random=False),
    Mutant("what runs can be given back", "if not rec or rec.state ~= 'queued' or head.generation",
           "if not rec or head.generation",
           unregistered.test_what_runs_or_was_handed_out_anew_is_left_alone, random=False),
    Mutant("nobody says who did not know it", "if state == 'timed_out' and rec.state == 'queued' and returned(rec)",
           "if false", unregistered.test_at_the_deadline_the_error_says_that_nobody_knew_it, random=False),
    Mutant("a lease keeps nobody out", "if rec.state == 'running' and rec.token ~= A.token then return 'leased' end",
           "",
           start.test_a_run_starts_once_and_copies_of_its_message_are_refused),
    Mutant("a token is not remembered", "if rec.state == 'running' and rec.token ~= A.token then",
           "if rec.state == 'running' then",
           start.test_asking_again_after_a_lost_reply_gives_the_same_answer),
    Mutant("runs start after the deadline", "if NOW >= head.deadline_at or NOW >= (rec.exp",
           "if NOW >= (rec.exp", start.test_nothing_starts_at_the_deadline_though_nobody_swept, random=False),
    Mutant("stages start after their time", "if NOW >= head.finish_at then return 'late' end", "",
           start.test_no_stage_starts_when_its_time_is_over_though_nobody_swept, random=False),
    Mutant("runs start while the request is closing", "if head.state ~= 'collecting' or head.closing then",
           "if head.state ~= 'collecting' then",
           policy.test_closing_many_runs_lets_answers_in_and_no_new_starts, random=False),
    Mutant("a retrying run starts early", "return rec.state == 'retrying' and 'not due' or nil",
           "if rec.state == 'retrying' then rec.state = 'queued' end",
           start.test_a_retrying_run_waits_for_its_time),
    Mutant("a late confirmation revives", "elseif current and rec.state == 'queued' and not", "elseif current and not",
           start.test_published_after_start_changes_nothing),
    Mutant("a gone copy's confirmation counts", "and not handed_out_later(head, sent, rec) then", "then",
           start.test_published_of_a_copy_that_was_sent_before_it_was_handed_out_anew_changes_nothing, random=False),
    Mutant("what another has is called anew", "or is_unread and rec.state ~= 'queued' then", "then",
           start.test_what_was_only_reserved_when_its_broker_went_away_is_handed_out_at_once, random=False),
    Mutant("a second success wins again", "or RUN_ENDED[rec.state]\n    or (rec.step or 0) ~=",
           "or (rec.step or 0) ~=",
           settle.test_a_second_winner_is_late_and_changes_nothing, random=False),
    Mutant("a stale failure counts", "or not (answered or current) then", "then",
           settle.test_a_failure_of_a_stale_attempt_does_not_count, random=False),
    Mutant("settling twice counts twice", "return rec.settled == one.attempt and rec.generation == one.generation",
           "return false", settle.test_settling_twice_says_the_same_and_counts_once, random=False),
    Mutant("a stage commits late", "or not (one.state == 'ok' or current) then", "then",
           advance.test_a_late_failure_of_a_stage_does_not_count, random=False),
    Mutant("the value is not kept", "if #value > 0 then put_value(",
           "if false then put_value(",
           settle.test_answers_of_all_runs_complete_a_request_without_stages),
    Mutant("first=n is forgotten", "return head.first ~= nil and head.answered >= head.first and is_met(head)",
           "return false", policy.test_first_ends_the_others_as_skipped_running_ones_too, random=False),
    Mutant("first=n ignores what is required", "head.answered >= head.first and is_met(head)",
           "head.answered >= head.first", policy.test_first_waits_for_what_is_required, random=False),
    Mutant("min_ok ends collecting", "elseif ends_early(head) or is_impossible(head) then",
           "elseif is_met(head) or is_impossible(head) then", policy.test_min_ok_never_ends_collecting_early),
    Mutant("the impossible goes on", "elseif ends_early(head) or is_impossible(head) then",
           "elseif ends_early(head) then", policy.test_what_has_become_impossible_ends_at_once, random=False),
    Mutant("missing is not counted", "if RUN_MISSING[rec.state] then fields.missing = head.missing + 1 end", "",
           claim.test_at_the_deadline_open_runs_time_out_and_say_why),
    Mutant("crashes have no cap", "if rec.crashes < cap and not rec.once then", "if not rec.once then",
           claim.test_a_run_that_kills_its_processes_is_lost_at_the_cap, random=False),
    Mutant("a living process crashed", "local crashed = NOW >= seen + (over_time and A.silent_ms or A.lease_ms)",
           "local crashed = true", claim.test_a_lapse_of_a_process_that_renews_others_is_no_crash, random=False),
    Mutant("a gap takes all leases", "elseif NOW < grace_until then", "elseif false then",
           claim.test_a_sweeper_that_was_away_gives_the_living_time_to_renew, random=False),
    Mutant("ended runs stay due", "due_no_more(member(head.id, ref))\n  waits_no_more(head, ref, rec)\nend",
           "waits_no_more(head, ref, rec)\nend", claim.test_nothing_is_left_of_an_ended_request_among_what_is_due),
    Mutant("ended runs stay waiting", "member(head.id, ref))\n  waits_no_more(head, ref, rec)\nend",
           "member(head.id, ref))\nend", settle.test_an_ended_run_is_neither_due_nor_waiting),
    Mutant("ended requests stay for ever", "ended[head.id] = head.ttl_ms", "",
           claim.test_ended_requests_expire_and_leave_the_list),
    Mutant("a cancel leaves its stage", "if head.state ~= 'collecting' then\n  local ref", "if false then\n  local ref",
           cancel.test_a_cancelled_stage_neither_starts_nor_commits, random=False),
    Mutant("a cancel leaves its runs", "set_head(head, { closing = 'cancelled', cursor = 0 })\nclose(head)", "",
           cancel.test_after_a_cancel_everything_has_ended),
    Mutant("leases outlive the time limit", "math.min(NOW + A.lease_ms, rec.ends_at + A.grace_ms)",
           "NOW + A.lease_ms", renew.test_no_lease_is_renewed_past_the_time_limit, random=False),
    Mutant("a renewal brings back", "redis.call('ZADD', DUE, 'XX', ", "redis.call('ZADD', DUE, ",
           renew.test_a_renewal_brings_nothing_back_among_what_is_due, random=False),
    Mutant("any death will do", " or string.sub(rec.owner, 1, #A.process) ~= A.process then", " then",
           renew.test_a_death_of_another_process_changes_nothing, random=False),
    Mutant("what is handed out is forgotten",
           "due_at(member(head.id, ref), math.min(NOW + HAND_OUT_MS, rec.expires_at or ",
           "due_no_more(member(head.id, ref), math.min(NOW, rec.expires_at or ",
           claim.test_what_is_handed_out_and_not_confirmed_comes_again),
    Mutant("a copy moves the mark to its run's latest", "local own = not A.stamp and not rec.restamped and",
           "local own = not A.stamp and",
           backlog.test_an_early_copy_of_a_run_that_was_handed_out_anew_says_nothing_about_the_rest, random=False),
    Mutant("marks count at once", "(slot + 1) * MARK_MS <= NOW - A.backlog_ms", "true",
           backlog.test_a_mark_counts_only_after_a_while, random=False),
    Mutant("lost is what waits", "'-inf', '(' .. stamp", "'-inf', '+inf'",
           backlog.test_only_what_was_published_before_the_stamp_is_lost, random=False),
    *chord_mutants.MUTANTS,
    *control_mutants.MUTANTS,
    *together_mutants.MUTANTS,
    *payload_mutants.MUTANTS,
)  # fmt: skip
VERBS = ("open", "start", "published", "settle", "advance", "renew", "died", "claim", "cancel", "forget", "retry",
         "reprioritise", "unregistered", "stored", "sift")  # fmt: skip
NAMES = [mutant.name for mutant in MUTANTS]


@pytest.fixture
def mutated(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, ledger_client: Redis) -> Mutant:
    """The scripts as this mutant has them."""
    mutant: Mutant = request.param
    read = scripts.source
    assert any(mutant.old in read(name) for name in VERBS), "the scripts have changed, and this mutant must too"
    monkeypatch.setattr(scripts, "source", lambda name: read(name).replace(mutant.old, mutant.new))
    for name in VERBS:
        ledger_client.script_load(scripts.source(name))  # a mutant that is no Lua would prove nothing
    return mutant


@pytest.mark.parametrize("mutated", MUTANTS, ids=NAMES, indirect=True)
def test_a_test_catches_it(mutated: Mutant, world: World) -> None:
    with pytest.raises(Exception):  # noqa: B017 - however it fails
        mutated.caught_by(world)


RANDOM = [mutant for mutant in MUTANTS if mutant.random]


@pytest.mark.heavy
@pytest.mark.parametrize("mutated", RANDOM, ids=[mutant.name for mutant in RANDOM], indirect=True)
def test_the_random_machine_catches_it(
    mutated: Mutant, ledger_client: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mutated.random
    monkeypatch.setattr(asking, "OPEN_AT_ONCE", 2)
    search = settings(
        max_examples=300, stateful_step_count=50, database=None, phases=[Phase.generate], derandomize=True
    )
    with pytest.raises(Exception) as caught:
        run_state_machine_as_test(machine(ledger_client, prefix), settings=search)
    assert "pytest-timeout" not in str(caught.value), "it was not found in time"


def test_the_scripts_as_they_are_pass(world: World) -> None:
    """What catches a mutant catches nothing else."""
    for place, mutant in enumerate(MUTANTS):
        mutant.caught_by(World(world.client, f"{world.settings.prefix}.{place}"))
