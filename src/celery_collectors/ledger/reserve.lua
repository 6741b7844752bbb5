-- reserve: an idempotency key is given to one request id.
-- Promise: everyone who brings the key gets the id of whoever was first; the id may not be opened yet, then
-- whoever finds it opens it.
-- A: key, request_id, ttl_ms
local K = P .. ':key:' .. A.key
if not redis.call('SET', K, A.request_id, 'NX', 'PX', A.ttl_ms) then
  return answer({ request_id = redis.call('GET', K) })
end
return answer({ request_id = A.request_id })
