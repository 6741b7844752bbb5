"""Each key line by which several attempts are started and settled by one call; ``test_mutants.py`` tries them."""

from __future__ import annotations

from tests.ledger import test_advance as advance
from tests.ledger import test_alone as alone
from tests.ledger import test_along as along
from tests.ledger import test_claim as claim
from tests.ledger import test_together as together
from tests.ledger.chord_mutants import Mutant

TOGETHER = (
    Mutant("one that may not start stops the others", "for at, ref in ipairs(A.refs) do reply",
           "for at, ref in ipairs(A.refs) do if at > 1 and not reply.each[1].go then break end reply",
           together.test_one_that_may_not_start_says_why_and_keeps_no_other_from_starting, random=False),
    Mutant("several grants do not say of which request", "local reply = head and share(head, { each = {} }) or",
           "local reply =", together.test_each_grant_is_what_start_alone_would_have_given, random=False),
    Mutant("an unknown request can't be asked for several", "local rec = head and get_rec(head.id, ref)\n",
           "local rec = get_rec(head.id, ref)\n",
           together.test_nothing_starts_together_of_a_request_that_is_over_or_unknown, random=False),
    Mutant("each gets the first one's value", "settle(one, ARGV[at + 1])", "settle(one, ARGV[2])",
           together.test_runs_settled_together_complete_their_request, random=False),
    Mutant("only the first one's death counts", "for _, ref in ipairs(A.refs) do died(ref) end", "died(A.refs[1])",
           together.test_a_death_takes_what_the_process_had_of_them_and_no_more, random=False),
    Mutant("what went on in place waits for its lease", "\ndied_in_place()\n", "\n",
           advance.test_a_stage_in_place_dies_with_the_process_of_its_message, random=False),
    Mutant("what goes on elsewhere dies, too", "  if not rec or not is_theirs(rec) then",
           "  if not rec then",
           advance.test_a_stage_in_place_is_not_lost_with_another_process, random=False),
    Mutant("only the first counts", "for at, one in ipairs(A.ended) do\n  each[at] = settle(",
           "for at, one in ipairs({ A.ended[1] }) do\n  each[at] = settle(",
           together.test_runs_settled_together_complete_their_request, random=False),
    Mutant("settled together it loses its stage", "    reply.next = reply.next or again(head, A.who)\n", "",
           together.test_the_stage_that_a_lost_reply_gave_is_given_again, random=False),
    Mutant("what is read twice is read anew", "if known[ref] == nil then\n", "if true then\n",
           together.test_one_that_decides_the_request_ends_the_others_of_its_message, random=False),
    Mutant("a head is read anew", "  if heads[id] == nil then load(id, {}) end\n", "  heads[id] = nil load(id, {})\n",
           claim.test_what_ends_in_one_sweep_counts_each, random=False),
)  # fmt: skip

ALONG = (
    Mutant("no further stage is named", "granted['then'] = #along > 0 and along or nil", "",
           along.test_a_grant_in_place_names_the_short_stages_after_it, random=False),
    Mutant("long stages are named, too", "or not is_short(head, stages[at], who) then break end", "then break end",
           along.test_only_those_up_to_the_first_that_is_not_known_to_be_short_are_named, random=False),
    Mutant("what was made from a loser's output counts", "each[at] = stands and commit(at, one) or",
           "each[at] = commit(at, one) or",
           along.test_what_was_made_from_a_loser_s_output_is_not_committed, random=False),
    Mutant("what was made from what failed counts", "each[at].kept and each[at].state == 'ok'", "each[at].kept",
           along.test_nothing_is_committed_that_was_made_from_what_failed, random=False),
    Mutant("another's attempt is taken for ours", "local is_mine = at == 1 or begin_along(one, rec)",
           "local is_mine = at == 1 or begin_along(one, rec) or rec.state == 'running'",
           along.test_what_another_has_begun_meanwhile_is_left_to_it, random=False),
    Mutant("it begins when its time is over", "and fits(one) and NOW < head.finish_at then", "and fits(one) then",
           along.test_no_further_stage_is_begun_when_the_time_of_the_stages_is_over, random=False),
    Mutant("any attempt will do", "rec.attempt + 1 == one.attempt and fits", "fits",
           along.test_an_attempt_that_is_not_the_next_one_of_its_stage_is_late, random=False),
    Mutant("nobody is told to run what did not come next", "local is_first = following and following.attempt == 1 and",
           "local is_first = following and",
           along.test_an_attempt_that_does_not_come_next_is_late_and_its_stage_is_sent, random=False),
    Mutant("what comes next is sent all the same", "  if in_time and done == stage.ref then\n", "  if false then\n",
           along.test_stages_commit_together_each_with_its_own_record_and_events, random=False),
    Mutant("it hangs when its time is over", "  if in_time and done == stage.ref then\n",
           "  if done == stage.ref then\n",
           along.test_what_comes_too_late_to_begin_is_due, random=False),
)  # fmt: skip

ALONE = (
    Mutant("nothing goes alone", "return rec.crashes > 0 and rec.crashes + 1 >= A.crash_cap", "return false",
           alone.test_a_process_takes_one_at_a_time, random=False),
    Mutant("what is fresh goes alone", "return rec.crashes > 0 and rec.crashes + 1 >= A.crash_cap",
           "return rec.crashes + 1 >= A.crash_cap",
           alone.test_where_the_first_crash_is_the_last_nothing_goes_alone, random=False),
    Mutant("what crashed once goes alone", "rec.crashes > 0 and rec.crashes + 1 >= A.crash_cap", "rec.crashes > 0",
           alone.test_before_its_last_chance_it_goes_in_company, random=False),
    Mutant("it is refused though nothing is there", "if alone and not A.alone then", "if alone then",
           alone.test_a_process_takes_one_at_a_time, random=False),
    Mutant("refused it does not come again", "      give_back(head, ref, rec)\n", "",
           alone.test_one_that_is_refused_comes_again_after_a_pause_that_grows, random=False),
    Mutant("nobody is told that it goes alone", "  granted.alone = alone or nil\n", "",
           alone.test_a_process_takes_one_at_a_time, random=False),
    Mutant("the pause does not grow", "PAUSE_MS * 2 ^ (times - 1)", "PAUSE_MS",
           alone.test_one_that_is_refused_comes_again_after_a_pause_that_grows, random=False),
    Mutant("an older copy hides what a newer one told", "math.max(A.stamp or 0, before and before.stamp or 0)",
           "A.stamp or 0", alone.test_an_older_copy_that_comes_after_it_does_not_either, random=False),
    Mutant("nobody says what it waited for", "  if by == '' then\n", "  if false then\n",
           alone.test_at_the_deadline_the_error_says_what_it_waited_for, random=False),
)  # fmt: skip

MUTANTS = (*TOGETHER, *ALONG, *ALONE)
