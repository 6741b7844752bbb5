-- What a script reads it reads once, and what it changes it writes once, when it ends (`save`): all of a kind by one
-- command, however many runs it is about. Comes after prelude.lua in every script.

local AT_ONCE = 4000 -- values in one command: Lua can't pass more than about 8,000
local function in_bulk(verb, where, flat)
  for at = 1, #flat, AT_ONCE do
    redis.call(verb, where, unpack(flat, at, math.min(at + AT_ONCE - 1, #flat)))
  end
end

local function of(tables, name)
  local found = tables[name]
  if not found then
    found = {}
    tables[name] = found
  end
  return found
end

-- Heads ------------------------------------------------------------------------------------------

local heads, head_changes = {}, {}

local function get_head(id)
  if heads[id] ~= nil then return heads[id] or nil end
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
  heads[id] = head.state and head or false -- absent, or opened but not yet sealed
  return heads[id] or nil
end

local function set_head(head, fields)
  local changes = of(head_changes, head.id)
  for field, value in pairs(fields) do
    head[field], changes[field] = value, value
  end
end

local function unset_head(head, ...)
  local changes = of(head_changes, head.id)
  for _, field in ipairs({ ... }) do
    head[field], changes[field] = nil, false
  end
end

local function stages_of(head)
  if not head.plans then head.plans = cjson.decode(head.stages) end
  return head.plans
end

-- Runs and stages --------------------------------------------------------------------------------

local recs, recs_put = {}, {}

local function load_recs(id, refs) -- which are about to be read, in one go
  local known = of(recs, id)
  for at = 1, #refs, AT_ONCE do
    local last = math.min(at + AT_ONCE - 1, #refs)
    local texts = redis.call('HMGET', key('runs', id), unpack(refs, at, last))
    for i, text in ipairs(texts) do
      local ref = refs[at + i - 1]
      if known[ref] == nil then known[ref] = text and cjson.decode(text) end
    end
  end
end

local function refs_of(several)
  local refs = {}
  for at, one in ipairs(several) do refs[at] = one.ref end
  return refs
end

local function load_runs(id, first, last)
  local refs = {}
  for at = first, last do refs[#refs + 1] = tostring(at) end
  load_recs(id, refs)
end

local function get_rec(id, ref)
  local known = of(recs, id)
  if known[ref] == nil then
    local text = redis.call('HGET', key('runs', id), ref)
    known[ref] = text and cjson.decode(text)
  end
  return known[ref] or nil
end

local function put_rec(id, ref, rec)
  of(recs, id)[ref], of(recs_put, id)[ref] = rec, true
end

local function drop_recs(id, refs)
  in_bulk('HDEL', key('runs', id), refs)
  for _, ref in ipairs(refs) do of(recs, id)[ref], of(recs_put, id)[ref] = nil, nil end
end

-- Values, times, sets ----------------------------------------------------------------------------

local values_put = {}
local function put_value(id, ref, value)
  local flat = of(values_put, id)
  flat[#flat + 1] = ref
  flat[#flat + 1] = value
end

local times, times_learnt = {}, {}
local function known_ms(task) -- how long it has taken lately
  if times[task] == nil then times[task] = tonumber(redis.call('HGET', TIMES, task)) or false end
  return times[task] or nil
end
local function learn(task, run_ms) -- a moving average; sooner down than up: a busy machine makes what is short look long
  local known = known_ms(task)
  times[task] = known and known + (run_ms - known) * (run_ms < known and 0.5 or 0.2) or run_ms
  times_learnt[task] = true
end

local moved = {} -- sorted set → entry → score, or false for what leaves it
local function due_at(entry, at) of(moved, DUE)[entry] = at end
local function due_no_more(entry) of(moved, DUE)[entry] = false end
local function when_due(entry)
  local at = of(moved, DUE)[entry]
  if at ~= nil then return at or nil end
  return tonumber(redis.call('ZSCORE', DUE, entry))
end
local function seen(process) of(moved, PROCS)[process] = NOW end

local ended = {} -- request → how long it is kept from now on

local function save_set(set, entries)
  local scored, gone = {}, {}
  for entry, score in pairs(entries) do
    if score then
      scored[#scored + 1] = score
      scored[#scored + 1] = entry
    else
      gone[#gone + 1] = entry
    end
  end
  in_bulk('ZADD', set, scored)
  in_bulk('ZREM', set, gone)
end

local function save_head(id, changes)
  local fields, gone = {}, {}
  for field, value in pairs(changes) do
    if value == false then
      gone[#gone + 1] = field
    else
      fields[#fields + 1] = field
      fields[#fields + 1] = value
    end
  end
  in_bulk('HSET', key('request', id), fields)
  in_bulk('HDEL', key('request', id), gone)
end

local function save()
  for id, changes in pairs(head_changes) do save_head(id, changes) end
  for id, refs in pairs(recs_put) do
    local flat = {}
    for ref in pairs(refs) do
      flat[#flat + 1] = ref
      flat[#flat + 1] = cjson.encode(recs[id][ref])
    end
    in_bulk('HSET', key('runs', id), flat)
  end
  for id, flat in pairs(values_put) do in_bulk('HSET', key('values', id), flat) end
  local learnt = {}
  for task in pairs(times_learnt) do
    learnt[#learnt + 1] = task
    learnt[#learnt + 1] = times[task]
  end
  in_bulk('HSET', TIMES, learnt)
  for set, entries in pairs(moved) do save_set(set, entries) end
  for id, ttl_ms in pairs(ended) do -- last: a key that was only made now goes, too
    for _, kind in ipairs({ 'request', 'runs', 'values', 'calls', 'events' }) do
      redis.call('PEXPIRE', key(kind, id), ttl_ms)
    end
  end
  head_changes, recs_put, values_put, times_learnt, moved, ended = {}, {}, {}, {}, {}, {}
end
