-- unregistered: a worker was given a message whose task it does not know, because its code is older than the request.
-- Promise: the run comes again by itself, for a worker that knows it, and nothing is counted against it; whoever asks
-- for too long what it waits for is told.
-- A: request_id, ref, generation, delivery, stamp (optional), worker, pause_ms, pause_cap_ms
local head = get_head(A.request_id)
local rec = head and (is_link(A.ref) or not REQUEST_ENDED[head.state]) and get_rec(head.id, A.ref)
if not rec or rec.state ~= 'queued' or head.generation ~= A.generation or rec.delivery ~= A.delivery then
  return answer({ kept = false })
end

local before = returned(rec)
local times = before and before.times + 1 or 1
rec.returned = { times = times, by = A.worker, at = NOW, stamp = A.stamp or 0 }
put_rec(head.id, A.ref, rec)
waits_no_more(head, A.ref, rec)
local pause = math.min(A.pause_cap_ms, A.pause_ms * 2 ^ (times - 1))
due_at(member(head.id, A.ref), math.min(NOW + pause, rec.expires_at or math.huge))
return answer({ kept = true })
