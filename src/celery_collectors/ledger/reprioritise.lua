-- reprioritise: what of a request waits is called for anew at another level; what starts later has that level, too.
-- Promise: older messages of what waits are void; what runs goes on. Asking again goes on with what was begun.
-- A: request_id, priority
local head = get_head(A.request_id)
if not head then return answer({ state = 'unknown' }) end
if REQUEST_ENDED[head.state] then return answer({ kept = false, reason = 'state', state = head.state }) end

local reply = { kept = true, state = head.state, orders = {} }
if head.priority ~= A.priority then
  set_head(head, { priority = A.priority, level_given = 1, moving = 0 })
  emit(head, 'request', head.topic, head.state, { priority = A.priority })
end
if head.moving then call_anew(head, reply) end
return answer(reply)
