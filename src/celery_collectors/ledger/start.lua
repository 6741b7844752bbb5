-- start: a worker asks for a run or stage, or for several runs of one request. Go, with a lease; or not, with the
-- reason.
-- Promise: one owner at a time; never for what is settled, superseded, cancelled or past its time. What the next
-- crash would end goes alone: where the process has another such one it is put off, so that no source which kills its
-- process takes others along for good.
-- Asking again with the same token (after a lost reply) gives the same answer, unless it was ended meanwhile.
-- A: request_id, refs, generation, delivery, stamp (optional), owner, worker, token, lease_ms, grace_ms, crash_cap,
--    alone (whether the process has no other that goes alone)
load(A.request_id, A.refs)
local head = get_head(A.request_id)

-- The queue has moved at least as far as this message; see claim.lua on backlog. Never further than this very
-- copy: an early copy of a run that was handed out anew says nothing about what was published in between.
-- A void message says nothing at all: it may have come with another priority.
local marked = false -- one message, one mark
local function mark(ref, rec)
  if marked then return end
  marked = true
  local own = not A.stamp and not rec.restamped and redis.call('ZSCORE', waiting_key(rec, head), member(head.id, ref))
  local stamp = A.stamp or tonumber(own or nil) or head.created_at
  local field = rec.queue .. ':' .. urgency(rec, head) .. ':' .. math.floor(NOW / MARK_MS)
  if stamp > (tonumber(redis.call('HGET', MARKS, field)) or 0) then redis.call('HSET', MARKS, field, stamp) end
end

local function reason_against(ref, rec)
  local is_current = head.generation == A.generation and rec.delivery == A.delivery
  if is_current then mark(ref, rec) end
  if REQUEST_ENDED[head.state] and not is_link(ref) then
    return head.state == 'cancelled' and 'cancelled' or 'settled'
  end
  if not is_current then return 'superseded' end
  if RUN_ENDED[rec.state] then return 'settled' end
  if is_link(ref) then
    -- no time limit of the request holds for what follows it
  elseif is_stage(ref) then
    if head.state ~= STAGE_STATE[ref] then return 'settled' end
    if NOW >= head.finish_at then return 'late' end
  else
    if head.state ~= 'collecting' or head.closing then return 'settled' end
    if NOW >= head.deadline_at or NOW >= (rec.expires_at or math.huge) then return 'late' end
  end
  if rec.state == 'running' and rec.token ~= A.token then return 'leased' end
  return rec.state == 'retrying' and 'not due' or nil
end

local function goes_alone(rec) return rec.crashes > 0 and rec.crashes + 1 >= A.crash_cap end

local function start(ref, granting)
  local rec = head and get_rec(head.id, ref)
  if not rec then return { go = false, ref = ref, reason = 'unknown' } end
  local reason = reason_against(ref, rec)
  if reason then return { go = false, ref = ref, reason = reason, state = rec.state } end
  local alone = goes_alone(rec)
  if rec.state ~= 'running' then
    if alone and not A.alone then
      give_back(head, ref, rec)
      return { go = false, ref = ref, reason = 'goes alone', state = rec.state }
    end
    begin(head, ref, rec, A)
  end
  local granted = granting(head, ref, rec)
  granted.alone = alone or nil
  return granted
end

if #A.refs == 1 then
  local granted = start(A.refs[1], grant)
  return answer_granted(head, granted, granted.go and granted)
end
local reply = head and share(head, { each = {} }) or { each = {} }
for at, ref in ipairs(A.refs) do reply.each[at] = start(ref, own_grant) end
return answer(reply)
