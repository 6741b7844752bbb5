-- advance: commits a stage's output and moves the request on.
-- Promise: one output per stage and generation, the winner's; the next stage begins only with it in place.
-- A: request_id, ref, generation, attempt, state ('ok', 'failed' or 'queued'), items, bytes, run_ms, error, jitter, who
-- ARGV[2]: the stage's output
local head = get_head(A.request_id)
local rec = head and get_rec(head.id, A.ref)
if not rec then return answer({ kept = false, reason = 'unknown' }) end
if settled_before(rec) then return answer({ kept = true, state = rec.state, next = again(head, A.who) }) end
local current = rec.state == 'running' and rec.attempt == A.attempt
if head.generation ~= A.generation or head.state ~= STAGE_STATE[A.ref] or RUN_ENDED[rec.state]
  or not (A.state == 'ok' or current) then
  redis.call('HINCRBY', key('request', head.id), 'late', 1)
  return answer({ kept = false, reason = 'late', state = rec.state })
end

local reply = { kept = true, orders = {} }
rec.settled, rec.generation = A.attempt, A.generation
if A.state == 'ok' then
  rec.items, rec.bytes, rec.run_ms = A.items, A.bytes, A.run_ms
  redis.call('HSET', key('values', head.id), A.ref, ARGV[2])
  learn(rec.task, A.run_ms)
  end_rec(head, A.ref, rec, 'ok', nil)
  enter_stage(head, head.stage, A.who, reply)
elseif A.state == 'queued' then
  requeue(head, A.ref, rec, reply)
else
  fail(head, A.ref, rec, A.state, A.error, A.jitter, reply)
end
reply.state = reply.state or rec.state
return answer(reply)
