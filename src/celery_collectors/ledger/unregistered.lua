-- unregistered: a worker was given a message whose task it does not know, because its code is older than the request.
-- Promise: the run comes again by itself, for a worker that knows it, and nothing is counted against it; whoever asks
-- for too long what it waits for is told.
-- A: request_id, ref, generation, delivery, stamp (optional), worker
local head = get_head(A.request_id)
local rec = head and (is_link(A.ref) or not REQUEST_ENDED[head.state]) and get_rec(head.id, A.ref)
if not rec or rec.state ~= 'queued' or head.generation ~= A.generation or rec.delivery ~= A.delivery then
  return answer({ kept = false })
end

give_back(head, A.ref, rec, A.worker)
return answer({ kept = true })
