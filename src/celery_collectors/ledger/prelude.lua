-- What every script of the ledger shares. Prepended to each of them, after the tables that are
-- rendered from model.py: RUN_NEXT, RUN_ENDED, RUN_ANSWERED, RUN_MISSING, REQUEST_NEXT, REQUEST_ENDED, STAGE_STATE.
--
-- KEYS[1] is the shard's prefix; every key is made from it, so that a script touches one cluster slot.
-- ARGV[1] is the call's arguments as JSON, ARGV[2] (where a script has one) a value as raw bytes.
-- Times are milliseconds. Records are JSON: a head's fields are those of a hash, a run is one field of
-- the runs hash, named by its number; a stage is the same kind of record, named by the stage.

local P = KEYS[1]
local A = cjson.decode(ARGV[1])
local DUE, INDEX, MARKS = P .. ':due', P .. ':index', P .. ':marks'
local PROCS, TIMES, SWEEP = P .. ':procs', P .. ':times', P .. ':sweep'
local STORED = P .. ':stored' -- what lies outside the ledger, by when to look whether anything points to it

local NOW = A.now
if not NOW then
  local time = redis.call('TIME')
  NOW = time[1] * 1000 + math.floor(time[2] / 1000)
end

local HAND_OUT_MS = 15000 -- how long whoever was handed something to publish has it to itself
local MARK_MS = 10000     -- how finely we remember how far a queue has moved
local CLOSE_AT_ONCE = 500 -- how many runs one call ends, of all requests, so that none blocks the server for long

local function key(kind, id) return P .. ':' .. kind .. ':' .. id end
local function urgency(rec, head) -- a chord's member may have its own, until the request is given another level
  return head.level_given and head.priority or rec.priority or head.priority
end
local function waiting_key(rec, head) return P .. ':waiting:' .. rec.queue .. ':' .. urgency(rec, head) end
local function member(id, ref) return id .. ' ' .. ref end

-- Heads ------------------------------------------------------------------------------------------

local function get_head(id)
  local flat = redis.call('HGETALL', key('request', id))
  local head = { id = id }
  for i = 1, #flat, 2 do
    local field, value = flat[i], flat[i + 1]
    if field == 'topic' or field == 'state' or field == 'priority' or field == 'messages'
      or field == 'stages' or field == 'error' or field == 'closing' or field == 'links' or field == 'result_id'
      or field == 'tried_by' then
      head[field] = value
    else
      head[field] = tonumber(value)
    end
  end
  if not head.state then return nil end -- absent, or opened but not yet sealed
  return head
end

local function set_head(head, fields)
  local flat = {}
  for field, value in pairs(fields) do
    head[field] = value
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  redis.call('HSET', key('request', head.id), unpack(flat))
end

-- Runs and stages --------------------------------------------------------------------------------

local function get_rec(id, ref)
  local text = redis.call('HGET', key('runs', id), ref)
  return text and cjson.decode(text)
end

local function put_rec(id, ref, rec)
  redis.call('HSET', key('runs', id), ref, cjson.encode(rec))
end

local function is_stage(ref) return STAGE_STATE[ref] ~= nil end
local function is_link(ref) return string.sub(ref, 1, 4) == 'link' end -- what follows a chord's end

-- Until when a run, stage or link may be started and may run.
local function latest(head, ref)
  if is_link(ref) then return math.huge end
  return is_stage(ref) and head.finish_at or head.deadline_at
end

local function move(rec, to)
  if not RUN_NEXT[rec.state .. ' ' .. to] then
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
  redis.call('ZADD', DUE, math.min(NOW + HAND_OUT_MS, rec.expires_at or math.huge), member(head.id, ref))
  return {
    request_id = head.id, ref = ref, name = rec.name, task = rec.task, queue = rec.queue,
    generation = head.generation, delivery = rec.delivery, topic = head.topic, priority = urgency(rec, head),
    level_given = head.level_given ~= nil or nil, stamp = NOW,
    call = rec.call and redis.call('HGET', key('calls', head.id), ref) or nil,
    step = rec.step, failures = rec.failures > 0 and rec.failures or nil,
    time_left_ms = rec.call and math.min(latest(head, ref) - NOW, rec.timeout_ms) or nil,
  }
end

local function waits_no_more(head, ref, rec)
  redis.call('ZREM', waiting_key(rec, head), member(head.id, ref))
  if not head.level_given then return end
  for _, level in ipairs({ 'low', 'normal', 'high', rec.priority }) do -- it may still wait where it was before
    redis.call('ZREM', P .. ':waiting:' .. rec.queue .. ':' .. level, member(head.id, ref))
  end
end

-- What workers said of it that do not know its task, since it was queued.
local function returned(rec)
  return rec.returned and rec.returned.at >= rec.queued_at and rec.returned or nil
end

local function forget(head, ref, rec) -- nothing is due for it any more
  redis.call('ZREM', DUE, member(head.id, ref))
  waits_no_more(head, ref, rec)
end
