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

local function emit(head, subject, name, state, more)
  local event = more or {}
  if event.error and event.error.traceback then -- the record keeps it; an event stays small
    local err = event.error
    event.error = { type = err.type, kind = err.kind, message = err.message, retryable = err.retryable }
  end
  event.generation = head.generation and head.generation > 1 and head.generation or nil
  event.request_id, event.subject, event.name, event.state, event.at_ms = head.id, subject, name, state, NOW
  redis.call('XADD', key('events', head.id), 'MAXLEN', '~', 10000, '*', 'e', cjson.encode(event))
end

local function emit_rec(head, ref, rec, more)
  more = more or {}
  more.attempt = rec.attempt
  emit(head, is_link(ref) and 'link' or is_stage(ref) and 'stage' or 'run', rec.name, rec.state, more)
end

-- Orders: what must be published, as dispatch.py takes them --------------------------------------

local function order(head, ref, rec) -- the stamp lets start.lua tell the copies of a message apart
  due_at(member(head.id, ref), math.min(NOW + HAND_OUT_MS, rec.expires_at or math.huge))
  return {
    request_id = head.id, ref = ref, name = rec.name, task = rec.task, queue = rec.queue,
    generation = head.generation, delivery = rec.delivery, topic = head.topic, priority = urgency(rec, head),
    level_given = head.level_given ~= nil or nil, stamp = NOW,
    call = rec.call and redis.call('HGET', key('calls', head.id), ref) or nil,
    step = rec.step, failures = rec.failures > 0 and rec.failures or nil,
    time_left_ms = rec.call and math.min(latest(head, ref) - NOW, rec.timeout_ms) or nil,
  }
end

local function waits(head, ref, rec) of(moved, waiting_key(rec, head))[member(head.id, ref)] = NOW end

local function waits_no_more(head, ref, rec)
  of(moved, waiting_key(rec, head))[member(head.id, ref)] = false
  if not head.level_given then return end
  for _, level in ipairs({ 'low', 'normal', 'high', rec.priority }) do -- it may still wait where it was before
    of(moved, P .. ':waiting:' .. rec.queue .. ':' .. level)[member(head.id, ref)] = false
  end
end

-- What workers said of it that do not know its task, since it was queued.
local function returned(rec)
  return rec.returned and rec.returned.at >= rec.queued_at and rec.returned or nil
end

local function forget(head, ref, rec) -- nothing is due for it any more
  due_no_more(member(head.id, ref))
  waits_no_more(head, ref, rec)
end
