-- renew: a process says that it lives and what it runs.
-- Promise: no lease is renewed past its run's time limit; what the process should no longer run is named.
-- A: owner, lease_ms, grace_ms, held [{request_id, ref, generation, attempt}...]
seen(A.owner)
local gone = {}
for i, held in ipairs(A.held) do
  local head = get_head(held.request_id)
  local rec = head and get_rec(held.request_id, held.ref)
  local reason
  if not rec then
    reason = 'unknown'
  elseif head.state == 'cancelled' then
    reason = 'cancelled'
  elseif head.generation ~= held.generation then
    reason = 'superseded'
  elseif rec.state ~= 'running' or rec.attempt ~= held.attempt then
    reason = rec.state
  else
    redis.call('ZADD', DUE, 'XX', math.min(NOW + A.lease_ms, rec.ends_at + A.grace_ms), member(head.id, held.ref))
  end
  if reason then gone[#gone + 1] = { i - 1, reason } end
end
return answer({ gone = gone })
