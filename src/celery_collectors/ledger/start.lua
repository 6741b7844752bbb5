-- start: a worker asks for a run or stage. Go, with a lease; or not, with the reason.
-- Promise: one owner at a time; never for what is settled, superseded, cancelled or past its time.
-- Asking again with the same token (after a lost reply) gives the same answer, unless it was ended meanwhile.
-- A: request_id, ref, generation, delivery, stamp (optional), owner, worker, token, lease_ms, grace_ms
local head = get_head(A.request_id)
if not head then return answer({ go = false, reason = 'unknown' }) end
local rec = get_rec(head.id, A.ref)
if not rec then return answer({ go = false, reason = 'unknown' }) end

-- The queue has moved at least as far as this message; see claim.lua on backlog. Never further than this very
-- copy: an early copy of a run that was handed out anew says nothing about what was published in between.
-- A void message says nothing at all: it may have come with another priority.
local is_current = head.generation == A.generation and rec.delivery == A.delivery
local stamp = A.stamp or rec.published_at or head.created_at
local field = rec.queue .. ':' .. urgency(rec, head) .. ':' .. math.floor(NOW / MARK_MS)
if is_current and stamp > (tonumber(redis.call('HGET', MARKS, field)) or 0) then
  redis.call('HSET', MARKS, field, stamp)
end

local function refuse(reason) return answer({ go = false, reason = reason, state = rec.state }) end
if REQUEST_ENDED[head.state] and not is_link(A.ref) then
  return refuse(head.state == 'cancelled' and 'cancelled' or 'settled')
end
if not is_current then return refuse('superseded') end
if RUN_ENDED[rec.state] then return refuse('settled') end
if is_link(A.ref) then
  -- no time limit of the request holds for what follows it
elseif is_stage(A.ref) then
  if head.state ~= STAGE_STATE[A.ref] then return refuse('settled') end
  if NOW >= head.finish_at then return refuse('late') end
else
  if head.state ~= 'collecting' or head.closing then return refuse('settled') end
  if NOW >= head.deadline_at or NOW >= (rec.expires_at or math.huge) then return refuse('late') end
end
if rec.state == 'running' then
  if rec.token ~= A.token then return refuse('leased') end
  local granted = grant(head, A.ref, rec)
  return answer_granted(head, granted, granted)
end
if rec.state == 'retrying' then return refuse('not due') end

begin(head, A.ref, rec, A)
local granted = grant(head, A.ref, rec)
return answer_granted(head, granted, granted)
