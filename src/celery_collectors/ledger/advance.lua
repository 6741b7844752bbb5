-- advance: commits a stage's output and moves the request on.
-- Promise: one output per stage and generation, the winner's; the next stage begins only with it in place.
-- A: request_id, ref, generation, attempt, state ('ok', 'failed' or 'queued'), items, bytes, run_ms, error, jitter,
--    again_ms, who
-- ARGV[2]: the stage's output; or the call that a task asked to be tried again with
-- A link, which follows a chord's end, is committed the same way, and moves nothing on.
local head = get_head(A.request_id)
local rec = head and get_rec(head.id, A.ref)
if not rec then return answer({ kept = false, reason = 'unknown' }) end
if settled_before(rec) then
  local granted = again(head, A.who)
  return answer_granted(head, { kept = true, state = rec.state, next = granted }, granted)
end
local current = rec.state == 'running' and rec.attempt == A.attempt
if head.generation ~= A.generation or RUN_ENDED[rec.state]
  or not is_link(A.ref) and head.state ~= STAGE_STATE[A.ref]
  or not (A.state == 'ok' or current) then
  redis.call('HINCRBY', key('request', head.id), 'late', 1)
  return answer({ kept = false, reason = 'late', state = rec.state })
end

local reply = { kept = true, orders = {} }
rec.settled, rec.generation = A.attempt, A.generation
if A.state == 'ok' then
  rec.items, rec.bytes, rec.run_ms = A.items, A.bytes, A.run_ms
  learn(rec.task, A.run_ms)
  end_rec(head, A.ref, rec, 'ok', nil)
  if not is_link(A.ref) then
    redis.call('HSET', key('values', head.id), A.ref, ARGV[2])
    enter_stage(head, head.stage, A.who, reply)
  end
elseif A.state == 'queued' then
  hand_back(head, A.ref, rec, reply)
else
  ask_again(head, A.ref)
  fail(head, A.ref, rec, A.state, A.error, A.jitter, reply, A.again_ms)
end
reply.state = reply.state or rec.state
return answer_granted(head, reply, reply.next)
