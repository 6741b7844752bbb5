"""Each key line by which the scripts know a chord, taken out or turned round; ``test_mutants.py`` tries them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tests.ledger import test_chord as chord
from tests.ledger import test_claim as claim
from tests.ledger import test_links as links
from tests.ledger import test_times as times
from tests.ledger.world import World


class Mutant(msgspec.Struct, frozen=True):
    """One replacement, the test that must fail with it, and whether the random machine must find it, too.

    That is asked of those that it finds within seconds.
    """

    name: str
    old: str
    new: str
    caught_by: Callable[[World], None]
    random: bool = True


EXPIRE_AT_ONCE = """\
  for _, kind in ipairs(KINDS) do
    redis.call('PEXPIRE', key(kind, head.id), head.ttl_ms)
  end
"""

CALLS = (
    Mutant("a member has its request's priority", "and head.priority or rec.priority or head.priority",
           "and head.priority or head.priority",
           chord.test_a_member_has_a_priority_of_its_own, random=False),
    Mutant("a callback goes on in place", " or stage.call and not stage.declared then", " then",
           chord.test_a_callback_is_a_message_also_if_it_is_known_to_be_short, random=False),
    Mutant("a callback goes on without its call", "if rec.call and in_place then granted.asked",
           "if false then granted.asked",
           chord.test_a_declared_stage_goes_on_in_place_with_its_call_also_if_a_reply_was_lost, random=False),
    Mutant("nothing is never gathered", "if A.total == 0 then -- a chord", "if false then -- a chord",
           chord.test_a_chord_over_nothing_goes_to_its_callback_at_once),
    Mutant("another's death will do", "return not (string.find(rec.owner", "return true or (string.find(rec.owner",
           chord.test_what_ran_into_a_hard_limit_has_ended_for_its_own_process_only, random=False),
    Mutant("what is not finished is forgotten", "not head or not REQUEST_ENDED[head.state] or get_rec(head.id, 'r",
           "not head or get_rec(head.id, 'r", links.test_what_is_not_finished_is_not_forgotten, random=False),
    Mutant("a result on its way is forgotten", "or get_rec(head.id, 'result') then return answer({ forgotten",
           "then return answer({ forgotten", links.test_what_is_still_on_its_way_is_not_forgotten, random=False),
    Mutant("a link on its way is forgotten", "if still_follows(head) then return answer({ forgotten",
           "if false then return answer({ forgotten",
           links.test_what_is_still_on_its_way_is_not_forgotten, random=False),
)  # fmt: skip

CHAINS = (
    Mutant("a chain ends with its first task", "if rec.more and #rec.more > 0 then", "if false then",
           chord.test_a_chain_goes_on_in_the_same_run),
    Mutant("a step's old message will do", "rec.delivery + 1, 0, 0\n", "rec.delivery, 0, 0\n",
           chord.test_the_message_of_an_earlier_step_is_refused, random=False),
    Mutant("an earlier step answers", " or (rec.step or 0) ~= (one.step or 0) or not", " or not",
           chord.test_a_success_of_an_earlier_step_is_late, random=False),
    Mutant("a step's value is an answer", "one.ref .. ':' .. (rec.step or 0), value", "one.ref, value",
           chord.test_the_value_of_a_step_is_kept_and_is_no_answer),
    Mutant("a step's items are an answer's", "rec.items, rec.bytes, rec.expires_at = nil, nil, nil",
           "rec.expires_at = nil", chord.test_a_step_that_fails_leaves_no_answer, random=False),
    Mutant("a step settled twice is late", " or (rec.step or 0) > (one.step or 0))", ")",
           chord.test_settling_a_step_twice_says_the_same, random=False),
    Mutant("a step inherits failures", "rec.delivery + 1, 0, 0\n", "rec.delivery + 1, rec.failures, rec.crashes\n",
           chord.test_each_step_has_failures_and_crashes_of_its_own, random=False),
    Mutant("a step has no number of retries", "step.retries or 0", "step.retries",
           chord.test_each_step_has_failures_and_crashes_of_its_own, random=False),
    Mutant("a chain stays waiting where it was", "  forget(head, ref, rec) -- before it names another queue\n", "",
           chord.test_nobody_takes_a_run_for_lost_that_has_gone_on_in_another_queue, random=False),
    Mutant("every step must not run twice", "step.priority or false, step.once or false",
           "step.priority or false, rec.once",
           chord.test_only_that_step_must_not_run_twice_which_says_so, random=False),
)  # fmt: skip

ONCE = (
    Mutant("once: again after a crash", "rec.crashes < cap and not rec.once then",
           "rec.crashes < cap and not (rec.once and not crashed) then",
           chord.test_what_must_not_run_twice_is_lost_when_its_process_dies, random=False),
    Mutant("once: again after a lapse", "rec.crashes < cap and not rec.once then", "rec.crashes < cap then",
           chord.test_what_must_not_run_twice_is_lost_when_its_lease_lapses, random=False),
    Mutant("once: again though its process lives", "rec.crashes < cap and not rec.once then",
           "rec.crashes < cap and not (rec.once and crashed) then",
           chord.test_what_must_not_run_twice_is_lost_though_its_process_lives, random=False),
    Mutant("once: again after it was handed back", "if not rec.once then return requeue", "if true then return requeue",
           chord.test_what_must_not_run_twice_is_lost_when_it_is_handed_back, random=False),
    Mutant("once: not in a callback", "timeout_ms = head.finish_at - NOW,\n",
           "timeout_ms = head.finish_at - NOW, once = false,\n",
           chord.test_a_callback_that_must_not_run_twice_fails_its_chord_when_its_process_dies, random=False),
)  # fmt: skip

TIMES = (
    Mutant("a countdown is ignored", "NOW + math.min(delay or to_publish(ref),", "NOW + math.min(to_publish(ref),",
           times.test_what_is_due_later_is_not_handed_out_before, random=False),
    Mutant("nobody ends what has expired", "elseif rec.state == 'queued' and NOW >= (rec.expires_at or math.huge) then",
           "elseif false then", times.test_what_was_not_sent_before_it_expired_is_ended, random=False),
    Mutant("what has expired starts", "or NOW >= (rec.expires_at or math.huge) then return 'late'",
           "then return 'late'", times.test_what_has_expired_does_not_start_though_nobody_swept, random=False),
    Mutant("what was published never expires", "if rec.expires_at then\n", "if false then\n",
           times.test_what_nobody_started_before_it_expired_is_ended, random=False),
    Mutant("what comes again expires late", "NOW + HAND_OUT_MS, rec.expires_at or math.huge))\n  return",
           "NOW + HAND_OUT_MS, math.huge))\n  return",
           times.test_what_is_handed_out_again_still_expires, random=False),
    Mutant("a chain that has begun expires", "rec.items, rec.bytes, rec.expires_at = nil, nil, nil",
           "rec.items, rec.bytes = nil, nil", times.test_a_chain_that_has_begun_does_not_expire, random=False),
    Mutant("who asks to be tried again is not", "again = asked_ms or err.retryable", "again = err.retryable",
           chord.test_a_task_that_asks_to_be_tried_again_says_when, random=False),
    Mutant("who asks to be tried again has a backoff", "pause = asked_ms or math.floor", "pause = math.floor",
           chord.test_a_task_that_asks_to_be_tried_again_says_when, random=False),
    Mutant("who asks with another call gets the old", "if one.again_ms and #call > 0 then", "if false then",
           chord.test_a_task_that_asks_to_be_tried_again_says_when, random=False),
    Mutant("who asks with no other call gets none", "if one.again_ms and #call > 0 then", "if one.again_ms then",
           chord.test_who_asks_without_another_call_gets_the_same, random=False),
)  # fmt: skip

LINKS = (
    Mutant("nothing follows the end", "\n  follow(head, state, reply)\n", "\n",
           links.test_a_success_calls_its_links_only),
    Mutant("a success calls its errors' links", "if link.kind == kind then", "if kind then",
           links.test_a_success_calls_its_links_only),
    Mutant("a failure calls no link", "or state == 'failed' and 'link_error'", "",
           links.test_a_failure_calls_its_links_only, random=False),
    Mutant("a cancel calls links", "or state == 'failed' and 'link_error'", "or 'link_error'",
           links.test_a_cancel_calls_nothing),
    Mutant("a link never starts", "if REQUEST_ENDED[head.state] and not is_link(ref) then",
           "if REQUEST_ENDED[head.state] then", links.test_a_link_runs_like_a_stage_but_after_the_end),
    Mutant("a link starts twice", "and rec.token ~= A.token then return 'leased'",
           "and rec.token ~= A.token and not is_link(ref) then return 'leased'",
           links.test_a_link_starts_once, random=False),
    Mutant("a link starts after its commit", "if RUN_ENDED[rec.state] then return 'settled' end",
           "if RUN_ENDED[rec.state] and is_link(ref) then rec.state = 'queued' end",
           links.test_a_link_commits_once, random=False),
    Mutant("a link commits twice", "or RUN_ENDED[rec.state] or not (one.state ==", "or not (one.state ==",
           links.test_a_link_commits_once, random=False),
    Mutant("a link ends its request again", "if is_link(ref) then return end_rec(head, ref, rec, state, err) end", "",
           links.test_a_link_that_fails_leaves_the_request_as_it_ended, random=False),
    Mutant("a link's output is kept", "if not is_link(one.ref) then\n      put_value(",
           "if true then\n      put_value(",
           links.test_a_link_runs_like_a_stage_but_after_the_end, random=False),
    Mutant("a link that nobody published is dropped", "local follows = is_link(ref) or ref == 'result'",
           "local follows = ref == 'result'", links.test_a_link_that_nobody_published_comes_again, random=False),
    Mutant("a lost link is dropped", "rec.state == 'queued' and (is_link(ref) or not REQUEST_ENDED[head.state])",
           "rec.state == 'queued' and not REQUEST_ENDED[head.state]",
           links.test_a_link_whose_message_was_lost_comes_again, random=False),
    Mutant("nobody sees a link's process die", "head and (is_link(ref) or not REQUEST_ENDED[head.state])",
           "head and not REQUEST_ENDED[head.state]",
           links.test_a_link_that_kills_its_processes_is_lost_at_the_cap, random=False),
    Mutant("a link may not run for long", "if is_link(ref) then return math.huge end", "",
           links.test_a_link_runs_like_a_stage_but_after_the_end, random=False),
    Mutant("once: not in a link", "backoff_cap_ms = 0, call = true,\n",
           "backoff_cap_ms = 0, call = true, once = false,\n",
           links.test_a_link_that_must_not_run_twice_does_not, random=False),
    Mutant("a result that is not confirmed is lost", "local follows = is_link(ref) or ref == 'result'",
           "local follows = is_link(ref)", links.test_a_result_comes_again_until_it_is_stored),
    Mutant("a result is stored for ever", "if current and sent.ref == 'result' then", "if false then",
           links.test_a_result_comes_again_until_it_is_stored),
    Mutant("a result is never stored", "if head.result_id then", "if false then",
           links.test_a_cancel_hands_out_its_result, random=False),
    Mutant("what the last call writes stays for ever", "  ended[head.id] = head.ttl_ms\n", EXPIRE_AT_ONCE,
           claim.test_what_the_last_call_writes_expires_too, random=False),
)  # fmt: skip

MUTANTS = (*CALLS, *CHAINS, *ONCE, *TIMES, *LINKS)
