-- died: the main process saw how the task ended that had this run, stage or link: its process died, it ran into
-- Celery's own time limit, or it was revoked; or nobody had it yet, and its message is gone.
-- Promise: takes it away from that process only, at once instead of when its lease lapses; what has been started
-- meanwhile by whoever got another copy of the message is left alone.
-- A: request_id, ref, generation, delivery, jitter, crash_cap, process (how its owner's name begins, up to the end of
--    a word; absent when nobody ran it), ended + error (absent when it is to be tried again, as after a crash)
local head = get_head(A.request_id)
local rec = head and (is_link(A.ref) or not REQUEST_ENDED[head.state]) and get_rec(head.id, A.ref)
if not rec or RUN_ENDED[rec.state] or head.generation ~= A.generation or rec.delivery ~= A.delivery then
  return answer({ kept = false })
end

local function is_theirs()
  if rec.state ~= 'running' or string.sub(rec.owner, 1, #A.process) ~= A.process then return false end
  return not (string.find(rec.owner, '^%w', #A.process + 1) and string.find(A.process, '%w$'))
end
local is_unread = not A.process and not A.ended -- only its message is gone
if A.process and not is_theirs() or is_unread and rec.state ~= 'queued' then return answer({ kept = false }) end

local reply = { kept = true, orders = {} }
if is_unread then
  waits_no_more(head, A.ref, rec) -- handed out, it is not what lies in the queue
  reply.orders[1] = order(head, A.ref, rec)
elseif A.ended then
  give_up(head, A.ref, rec, A.ended, A.error, reply)
else
  lapse(head, A.ref, rec, true, A.jitter, A.crash_cap, reply)
end
return answer(reply)
