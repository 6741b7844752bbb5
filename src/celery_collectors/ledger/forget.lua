-- forget: a finished request goes before its time is over.
-- Promise: one that is not finished is left alone.
-- A: request_id
local head = get_head(A.request_id)
if not head or not REQUEST_ENDED[head.state] then return answer({ forgotten = false }) end
for _, kind in ipairs({ 'request', 'runs', 'values', 'calls', 'events' }) do
  redis.call('UNLINK', key(kind, head.id))
end
redis.call('ZREM', INDEX, head.id)
return answer({ forgotten = true })
