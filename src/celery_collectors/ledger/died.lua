-- died: the main process saw how the task ended that had this run, stage or link, or several runs of one request: its
-- process died, it ran into Celery's own time limit, or it was revoked; or nobody had it yet, and its message is gone.
-- Promise: takes it away from that process only, at once instead of when its lease lapses; what has been started
-- meanwhile by whoever got another copy of the message is left alone. The stage that a process of that name went on with
-- in place goes with it: no message has called for that one, so nobody else will say so.
-- A: request_id, refs, generation, delivery, jitter, crash_cap, process (how its owner's name begins, up to the end of
--    a word; absent when nobody ran it), ended + error (absent when it is to be tried again, as after a crash)
load(A.request_id, A.refs)
local head = get_head(A.request_id)
local reply = { kept = false, orders = {} }

local function is_theirs(rec)
  if rec.state ~= 'running' or string.sub(rec.owner, 1, #A.process) ~= A.process then return false end
  return not (string.find(rec.owner, '^%w', #A.process + 1) and string.find(A.process, '%w$'))
end
local is_unread = not A.process and not A.ended -- only its message is gone

local function died(ref)
  local rec = head and (is_link(ref) or not REQUEST_ENDED[head.state]) and get_rec(head.id, ref)
  if not rec or RUN_ENDED[rec.state] or head.generation ~= A.generation or rec.delivery ~= A.delivery then return end
  if A.process and not is_theirs(rec) or is_unread and rec.state ~= 'queued' then return end

  reply.kept = true
  if is_unread then
    waits_no_more(head, ref, rec) -- handed out, it is not what lies in the queue
    reply.orders[#reply.orders + 1] = order(head, ref, rec)
  elseif A.ended then
    give_up(head, ref, rec, A.ended, A.error, reply)
  else
    lapse(head, ref, rec, true, A.jitter, A.crash_cap, reply)
  end
end

local function died_in_place()
  local stage = head and A.process and head.generation == A.generation and stages_of(head)[head.stage]
  local rec = stage and get_rec(head.id, stage.ref)
  if not rec or not is_theirs(rec) then return end
  reply.kept, reply.in_place = true, stage.ref
  lapse(head, stage.ref, rec, true, A.jitter, A.crash_cap, reply)
end

for _, ref in ipairs(A.refs) do died(ref) end
died_in_place()
return answer(reply)
