-- died: the main process saw the process die that held this run or stage.
-- Promise: takes it away from that process only, at once instead of when its lease lapses.
-- A: request_id, ref, generation, delivery, process (how its owner's name begins, up to the end of a word), jitter,
--    crash_cap
local head = get_head(A.request_id)
local rec = head and not REQUEST_ENDED[head.state] and get_rec(head.id, A.ref)
if not rec or rec.state ~= 'running' or head.generation ~= A.generation or rec.delivery ~= A.delivery
  or string.sub(rec.owner, 1, #A.process) ~= A.process
  or string.find(rec.owner, '^%w', #A.process + 1) and string.find(A.process, '%w$') then
  return answer({ kept = false })
end
local reply = { kept = true, orders = {} }
lapse(head, A.ref, rec, true, A.jitter, A.crash_cap, reply)
return answer(reply)
