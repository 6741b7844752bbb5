-- retry: a partial or failed request collects again: the next generation, a new deadline, only the runs named.
-- Promise: of all who try one generation again, one begins the next, whole; what others answered stays; what is under way
-- from before is void. Asking again with the same token (after a lost reply) goes on with what the first call began.
-- A: request_id, generation (which is tried again), token, refs [ref...] (a chunk), from, seal, unsealed_ttl_ms,
--    deadline_ms, finish_ms
local head = get_head(A.request_id)
if not head then return answer({ state = 'unknown' }) end
local reply = { kept = true, generation = head.generation, orders = {} }

if head.tried_by == A.token then
  if head.again and A.seal then reopen(head, reply) end
  reply.state = head.state
  return answer(reply)
end
local function refuse(reason)
  return answer({ kept = false, reason = reason, state = head.state, generation = head.generation })
end
if head.generation ~= A.generation then return refuse('superseded') end
if not follows(REQUEST_NEXT, head.state, 'collecting') then return refuse('state') end
if still_follows(head) then return refuse('follows') end

local chosen = key('again', head.id) .. ':' .. A.token
if #A.refs > 0 and redis.call('LLEN', chosen) == A.from then
  redis.call('RPUSH', chosen, unpack(A.refs))
  redis.call('PEXPIRE', chosen, A.unsealed_ttl_ms)
end
if not A.seal then return answer(reply) end

if redis.call('EXISTS', chosen) == 1 then
  redis.call('RENAME', chosen, key('again', head.id))
  redis.call('PERSIST', key('again', head.id))
end
for _, kind in ipairs(KINDS) do redis.call('PERSIST', key(kind, head.id)) end
local stale = { 'result' } -- a result that was not stored yet never will be
for _, plan in ipairs(stages_of(head)) do stale[#stale + 1] = plan.ref end
for _, plan in ipairs(links_of(head)) do stale[#stale + 1] = plan.ref end
drop_recs(head.id, stale)
look_soon(head.id, redis.call('HMGET', key('values', head.id), unpack(stale)))
redis.call('HDEL', key('values', head.id), unpack(stale))
due_no_more(member(head.id, 'result'))
unset_head(head, 'finished_at', 'error', 'moving')
set_head(head, {
  state = 'collecting', generation = head.generation + 1, tried_by = A.token, began_at = NOW, stage = 0, again = 1,
  deadline_at = NOW + A.deadline_ms, finish_at = NOW + A.deadline_ms + A.finish_ms,
})
redis.call('ZADD', INDEX, NOW, head.id)
emit(head, 'request', head.topic, 'collecting')
reopen(head, reply)
reply.state, reply.generation = head.state, head.generation
return answer(reply)
