-- forget: a finished request goes before its time is over.
-- Promise: one that is not finished is left alone; so is one whose links or result are still on their way.
-- A: request_id
local head = get_head(A.request_id)
if not head or not REQUEST_ENDED[head.state] or get_rec(head.id, 'result') then return answer({ forgotten = false }) end
if still_follows(head) then return answer({ forgotten = false }) end
if redis.call('EXISTS', STORED) == 1 then look_soon(head.id, redis.call('HVALS', key('values', head.id))) end
for _, kind in ipairs(KINDS) do
  redis.call('UNLINK', key(kind, head.id))
end
redis.call('ZREM', INDEX, head.id)
return answer({ forgotten = true })
