-- open: write a request and its runs, a chunk at a time. It lives once sealed, and only whole.
-- Promise: a repeated call changes nothing; what is never sealed goes away by itself; what is sealed
-- will be published by someone, because every run is among what is due from the moment it is written.
-- A: request_id, head {...}, from, runs [record...], calls {ref = call}, seal (bool), unsealed_ttl_ms
local id = A.request_id
local H = key('request', id)
local state = redis.call('HGET', H, 'state')
if state then return answer({ opened = false, state = state }) end

local flat = {}
for field, value in pairs(A.head) do
  if field ~= 'deadline_ms' and field ~= 'finish_ms' then
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
end
redis.call('HSET', H, unpack(flat))
for i, rec in ipairs(A.runs) do
  local ref = tostring(A.from + i - 1)
  rec.state, rec.attempt, rec.failures, rec.crashes, rec.delivery = 'queued', 0, 0, 0, 1
  rec.queued_at = NOW + (rec.delay_ms or 0)
  rec.expires_at = rec.expires_ms and NOW + rec.expires_ms
  local first_at = rec.delay_ms and rec.queued_at or NOW + HAND_OUT_MS
  rec.delay_ms, rec.expires_ms = nil, nil
  put_rec(id, ref, rec)
  due_at(member(id, ref), math.min(first_at, rec.expires_at or math.huge))
end
if next(A.calls) then
  local calls = {}
  for ref, call in pairs(A.calls) do
    calls[#calls + 1] = ref
    calls[#calls + 1] = call
  end
  redis.call('HSET', key('calls', id), unpack(calls))
end
save()
if not A.seal then
  redis.call('PEXPIRE', H, A.unsealed_ttl_ms)
  redis.call('PEXPIRE', key('runs', id), A.unsealed_ttl_ms)
  redis.call('PEXPIRE', key('calls', id), A.unsealed_ttl_ms)
  return answer({ opened = false })
end

local written = redis.call('HLEN', key('runs', id))
if written ~= A.head.runs then
  error('request ' .. id .. ' has ' .. written .. ' of its ' .. A.head.runs .. ' runs: open it again')
end
redis.call('PERSIST', H)
redis.call('PERSIST', key('runs', id))
redis.call('PERSIST', key('calls', id))
local head = { id = id }
set_head(head, {
  state = 'collecting', generation = 1, created_at = NOW, deadline_at = NOW + A.head.deadline_ms,
  finish_at = NOW + A.head.deadline_ms + A.head.finish_ms, open = A.head.runs, answered = 0, missing = 0,
  required_missing = 0, stage = 0,
})
due_at(id, head.deadline_at)
redis.call('ZADD', INDEX, NOW, id)
emit({ id = id }, 'request', A.head.topic, 'collecting')
local reply = { opened = true, orders = {} }
if head.open == 0 then -- a chord over nothing: its callback gets an empty list
  save()
  finish_collecting(get_head(id), nil, reply)
end
return answer(reply)
