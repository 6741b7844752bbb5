-- stored: an attempt is about to store a value outside the ledger, or never will point to what it has stored.
-- Promise: whatever becomes of whoever stores it, a sweeper will look whether anything points to it.
-- A: request_id, ref, number (generation.attempt), look_ms, unwanted (bool)
local entry = member(A.request_id, A.ref) .. ' ' .. A.number
if A.unwanted then
  redis.call('ZREM', STORED, entry)
  entry = '!' .. entry
end
redis.call('ZADD', STORED, NOW + A.look_ms, entry)
return answer({})
