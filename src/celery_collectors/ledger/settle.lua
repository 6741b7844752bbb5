-- settle: ends an attempt of a run, or of several runs of one request.
-- Promise: a success from any attempt of this generation wins, once; a failure counts only from the
-- current attempt; anything else is kept as late. What completes the request moves it on, in the same step.
-- Settling the same attempt twice (after a lost reply) says what the first call said.
-- A: request_id, who (optional), ended [{ref, generation, attempt, step (of a chain), state, items, bytes, run_ms,
--    error, jitter, again_ms (a task asked to be tried again after so long)}...]
-- ARGV[2...]: of each, the value of an answer; or the call that a task asked to be tried again with
load(A.request_id, refs_of(A.ended))
local head = get_head(A.request_id)
local reply, each = { orders = {} }, {}

local function settle(one, value)
  local rec = head and get_rec(head.id, one.ref)
  if not rec then return { kept = false, reason = 'unknown' } end

  local answered = RUN_ANSWERED[one.state]
  local too_large = answered and over_cap(head, one.items, one.bytes)
  if too_large then one.state, one.error, answered = 'failed', too_large, false end
  if settled_before(rec, one) then
    reply.next = reply.next or again(head, A.who)
    return { kept = true, state = rec.state }
  end
  local current = rec.state == 'running' and rec.attempt == one.attempt
  if head.generation ~= one.generation or head.state ~= 'collecting' or RUN_ENDED[rec.state]
    or (rec.step or 0) ~= (one.step or 0) or not (answered or current) then
    return late(head, rec)
  end

  local delay_ms
  rec.settled, rec.generation = one.attempt, one.generation
  if answered then
    rec.items, rec.bytes, rec.run_ms = one.items, one.bytes, one.run_ms
    learn(rec.task, one.run_ms)
    if rec.more and #rec.more > 0 then -- a chain: its next task gets this one's value
      put_value(head.id, one.ref .. ':' .. (rec.step or 0), value)
      next_step(head, one.ref, rec, reply)
    else
      if #value > 0 then put_value(head.id, one.ref, value) end
      end_run(head, one.ref, rec, one.state, nil)
      after_run(head, A.who, reply)
    end
  elseif one.state == 'queued' then -- handed back, as at a shutdown: nobody's fault
    hand_back(head, one.ref, rec, reply)
  else
    rec.run_ms = one.run_ms
    if one.state == 'timed_out' then learn(rec.task, one.run_ms) end -- it is not short any more
    ask_again(head, one, value)
    delay_ms = fail(head, one.ref, rec, one.state, one.error, one.jitter, reply, one.again_ms)
  end
  return { kept = true, state = rec.state, delay_ms = delay_ms }
end

for at, one in ipairs(A.ended) do
  each[at] = settle(one, ARGV[at + 1])
  each[at].ref = one.ref
end
return answer_each(head, reply, each)
