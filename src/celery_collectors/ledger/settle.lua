-- settle: ends an attempt of a run.
-- Promise: a success from any attempt of this generation wins, once; a failure counts only from the
-- current attempt; anything else is kept as late. What completes the request moves it on, in the same step.
-- Settling the same attempt twice (after a lost reply) says what the first call said.
-- A: request_id, ref, generation, attempt, step (of a chain), state, items, bytes, run_ms, error, jitter,
--    again_ms (a task asked to be tried again after so long), who (optional)
-- ARGV[2]: the value of an answer; or the call that a task asked to be tried again with
local head = get_head(A.request_id)
local rec = head and get_rec(head.id, A.ref)
if not rec then return answer({ kept = false, reason = 'unknown' }) end

local answered = RUN_ANSWERED[A.state]
local too_large = answered and over_cap(head, A.items, A.bytes)
if too_large then A.state, A.error, answered = 'failed', too_large, false end
if settled_before(rec) then
  local granted = again(head, A.who)
  return answer_granted(head, { kept = true, state = rec.state, next = granted }, granted)
end
local current = rec.state == 'running' and rec.attempt == A.attempt
if head.generation ~= A.generation or head.state ~= 'collecting' or RUN_ENDED[rec.state]
  or (rec.step or 0) ~= (A.step or 0) or not (answered or current) then
  redis.call('HINCRBY', key('request', head.id), 'late', 1)
  return answer({ kept = false, reason = 'late', state = rec.state })
end

local reply = { kept = true, orders = {} }
rec.settled, rec.generation = A.attempt, A.generation
if answered then
  rec.items, rec.bytes, rec.run_ms = A.items, A.bytes, A.run_ms
  learn(rec.task, A.run_ms)
  if rec.more and #rec.more > 0 then -- a chain: its next task gets this one's value
    redis.call('HSET', key('values', head.id), A.ref .. ':' .. (rec.step or 0), ARGV[2])
    next_step(head, A.ref, rec, reply)
  else
    if #ARGV[2] > 0 then redis.call('HSET', key('values', head.id), A.ref, ARGV[2]) end
    end_run(head, A.ref, rec, A.state, nil)
    after_run(head, A.who, reply)
  end
elseif A.state == 'queued' then -- handed back, as at a shutdown: nobody's fault
  hand_back(head, A.ref, rec, reply)
else
  rec.run_ms = A.run_ms
  ask_again(head, A.ref)
  fail(head, A.ref, rec, A.state, A.error, A.jitter, reply, A.again_ms)
end
reply.state = reply.state or rec.state
return answer_granted(head, reply, reply.next)
