-- What runs and stages are, what is told of them, and how they are called for. Comes after changes.lua in every script.

local function is_stage(ref) return STAGE_STATE[ref] ~= nil end
local function is_link(ref) return string.sub(ref, 1, 4) == 'link' end -- what follows a chord's end

-- Until when a run, stage or link may be started and may run.
local function latest(head, ref)
  if is_link(ref) then return math.huge end
  return is_stage(ref) and head.finish_at or head.deadline_at
end

local function move(rec, to)
  if not follows(RUN_NEXT, rec.state, to) then
    error('a run can not go from ' .. rec.state .. ' to ' .. to)
  end
  rec.state = to
end

-- Events -----------------------------------------------------------------------------------------

-- Its parts stand in the order in which reading.py knows them. Its time is that of its id, unless a test says it.
local function emit(head, subject, name, state, more, attempt, items)
  if more and more.error and more.error.traceback then -- the record keeps it; an event stays small
    local err = more.error
    more.error = { type = err.type, kind = err.kind, message = err.message, retryable = err.retryable }
  end
  local event = { subject, name, state, attempt or 0, items or 0, head.generation, A.now or 0, more }
  redis.call('XADD', key('events', head.id), 'MAXLEN', '~', '10000', '*', 'e', cmsgpack.pack(event))
end

local function emit_rec(head, ref, rec, more, items)
  local subject = is_link(ref) and 'link' or is_stage(ref) and 'stage' or 'run'
  emit(head, subject, rec.name, rec.state, more, rec.attempt, items)
end

-- Orders: what must be published, as dispatch.py takes them --------------------------------------

-- How long the client that opened a request has a run to itself: it publishes them in turn, and may be slow, or busy.
local WIDE, WIDE_MS = 500, 2500
local function to_publish(ref) return HAND_OUT_MS + math.floor((tonumber(ref) or 0) / WIDE) * WIDE_MS end

local function order(head, ref, rec) -- the stamp lets start.lua tell the copies of a message apart
  due_at(member(head.id, ref), math.min(NOW + HAND_OUT_MS, rec.expires_at or math.huge))
  return {
    request_id = head.id, ref = ref, name = rec.name, task = rec.task, queue = rec.queue,
    generation = head.generation, delivery = rec.delivery, topic = head.topic, priority = urgency(rec, head),
    level_given = head.level_given and true or nil, stamp = NOW,
    call = rec.call and redis.call('HGET', key('calls', head.id), ref) or nil,
    step = rec.step, failures = rec.failures > 0 and rec.failures or nil,
    time_left_ms = rec.call and math.min(latest(head, ref) - NOW, rec.timeout_ms) or nil,
  }
end

local function waits(head, ref, rec) of(moved, waiting_key(rec, head))[member(head.id, ref)] = NOW end

local function waits_no_more(head, ref, rec)
  of(moved, waiting_key(rec, head))[member(head.id, ref)] = false
  if not head.level_given then return end
  for _, level in ipairs({ 'low', 'normal', 'high', rec.priority or nil }) do -- it may still wait where it was before
    of(moved, P .. ':waiting:' .. rec.queue .. ':' .. level)[member(head.id, ref)] = false
  end
end

-- Why workers that were given its message did not run it, since it was queued.
local function returned(rec)
  return rec.returned and rec.returned.at >= rec.queued_at and rec.returned or nil
end

-- It comes again by itself, after a pause that grows: perhaps there is something to be done first, or there are many.
-- `by` names the worker that does not know its task; else it goes alone, and another such one was there. That is told
-- by an empty name: sweepers of an older version, beside which this one may run, want one.
local PAUSE_MS, LONGEST_PAUSE_MS = 500, 5000
local function give_back(head, ref, rec, by)
  local before = returned(rec)
  local times = before and before.times + 1 or 1
  local stamp = math.max(A.stamp or 0, before and before.stamp or 0) -- an older copy may come after a newer one
  rec.returned = { times = times, by = by or '', at = NOW, stamp = stamp }
  put_rec(head.id, ref, rec)
  waits_no_more(head, ref, rec)
  local pause = math.min(LONGEST_PAUSE_MS, PAUSE_MS * 2 ^ (times - 1))
  due_at(member(head.id, ref), math.min(NOW + pause, rec.expires_at or math.huge))
end

local function forget(head, ref, rec) -- nothing is due for it any more
  due_no_more(member(head.id, ref))
  waits_no_more(head, ref, rec)
end
