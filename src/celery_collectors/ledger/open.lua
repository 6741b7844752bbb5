-- open: write a request and its runs, a chunk at a time. It lives once sealed, and only whole.
-- Promise: a repeated call changes nothing; what is never sealed goes away by itself; what is sealed
-- will be published by someone, because every run is among what is due from the moment it is written.
-- A: request_id, topic, priority, total, required, deadline_ms, finish_ms, from, timed {place (from 1) = [delay_ms or
--    false, expires_ms or false]}, calls {ref = call}, seal (bool), unsealed_ttl_ms
-- ARGV[2]: the request's plan; ARGV[3...]: those of these runs. All are stored as they are.
local id = A.request_id
local H = key('request', id)
if redis.call('HEXISTS', H, 'now') == 1 then return answer({ opened = false }) end

local plans, timed = { 'plan', ARGV[2] }, A.timed
for place = 1, #ARGV - 2 do
  local ref, delay, expires = A.from + place - 1, false, false
  if timed[place] then delay, expires = unpack(timed[place]) end
  plans[#plans + 1] = 'p' .. ref
  plans[#plans + 1] = ARGV[place + 2]
  due_at(member(id, ref), NOW + math.min(delay or to_publish(ref), expires or math.huge))
end
in_bulk('HSET', H, plans)
local calls = {}
for ref, call in pairs(A.calls) do
  calls[#calls + 1] = ref
  calls[#calls + 1] = call
end
in_bulk('HSET', key('calls', id), calls)
if not A.seal then
  redis.call('PEXPIRE', H, A.unsealed_ttl_ms)
  redis.call('PEXPIRE', key('calls', id), A.unsealed_ttl_ms)
  return answer({ opened = false })
end

local written = redis.call('HLEN', H) - 1
if written ~= A.total then
  error('request ' .. id .. ' has ' .. written .. ' of its ' .. A.total .. ' runs: open it again')
end
if redis.call('PERSIST', H) == 1 then redis.call('PERSIST', key('calls', id)) end
set_head({ id = id }, {
  state = 'collecting', generation = 1, created_at = NOW, deadline_at = NOW + A.deadline_ms,
  finish_at = NOW + A.deadline_ms + A.finish_ms, open = A.total, answered = 0, missing = 0,
  required_open = A.required, required_missing = 0, stage = 0, priority = A.priority,
})
due_at(id, NOW + A.deadline_ms)
redis.call('ZADD', INDEX, NOW, id)
emit({ id = id, generation = 1 }, 'request', A.topic, 'collecting')
local reply = { opened = true, orders = {} }
if A.total == 0 then -- a chord over nothing: its callback gets an empty list
  save()
  finish_collecting(get_head(id), nil, reply)
end
return answer(reply)
