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

-- Heads and records ------------------------------------------------------------------------------
-- A request is one hash. `plan` is what it was opened with, `now` what has become of it since: its head. `p0`, `p1`, … are
-- the plans of its runs; `0`, `1`, …, and the names of stages and links, what has become of those: their records, which a
-- run has only once something has. All are MessagePack. In Lua a head, and a record, has its plan's fields too.

local heads, recs, puts = {}, {}, {}

local function with_plan(plan, now) return setmetatable(now, { __index = plan }) end

local function head_of(id, plan, now)
  if not now then return false end -- absent, or opened but not yet sealed
  local head = with_plan(cmsgpack.unpack(plan), cmsgpack.unpack(now))
  getmetatable(head).__index.id = id
  return head
end

local function several(text) return text and cjson.decode(text) or {} end -- JSON, for they are rarely looked at
local function stages_of(head)
  local plan = getmetatable(head).__index
  plan.stage_plans = plan.stage_plans or several(plan.stages)
  return plan.stage_plans
end
local function links_of(head) return several(head.links) end

local function plan_of(head, ref) -- a stage's or a link's
  for _, plan in ipairs(stages_of(head)) do
    if plan.ref == ref then return plan end
  end
  for _, plan in ipairs(links_of(head)) do
    if plan.ref == ref then return plan end
  end
end

local function rec_of(head, ref, plan, now)
  if not head or not (plan or now) then return false end
  plan = plan and cmsgpack.unpack(plan) or plan_of(head, ref)
  if now then return with_plan(plan, cmsgpack.unpack(now)) end
  return with_plan(plan, {
    state = 'queued', attempt = 0, failures = 0, crashes = 0, delivery = 1,
    queued_at = head.created_at + (plan.delay_ms or 0),
    expires_at = plan.expires_ms and head.created_at + plan.expires_ms or nil,
  })
end

local function read(id, fields)
  local found = {}
  for at = 1, #fields, AT_ONCE do
    local some = redis.call('HMGET', key('request', id), unpack(fields, at, math.min(at + AT_ONCE - 1, #fields)))
    for i, value in ipairs(some) do found[at + i - 1] = value end
  end
  return found
end

local function load(id, refs) -- a request's head and some of its records, in one go
  local known, wanted, fields = of(recs, id), {}, {}
  if heads[id] == nil then fields = { 'plan', 'now' } end
  local skip = #fields
  for _, ref in ipairs(refs) do
    if known[ref] == nil then
      wanted[#wanted + 1] = ref
      fields[#fields + 1] = 'p' .. ref
      fields[#fields + 1] = ref
    end
  end
  local found = read(id, fields)
  if skip > 0 then heads[id] = head_of(id, found[1], found[2]) end
  for i, ref in ipairs(wanted) do
    local at = skip + 2 * i
    known[ref] = rec_of(heads[id], ref, found[at - 1], found[at])
  end
end

local function load_runs(id, first, last)
  local refs = {}
  for at = first, last do refs[#refs + 1] = tostring(at) end
  load(id, refs)
end

local function get_head(id)
  if heads[id] == nil then load(id, {}) end
  return heads[id] or nil
end

local function get_rec(id, ref)
  local known = of(recs, id)
  if known[ref] == nil then load(id, { ref }) end
  return known[ref] or nil
end

local function set_head(head, fields)
  for field, value in pairs(fields) do head[field] = value end
  of(puts, head.id).now = head
end

local function unset_head(head, ...)
  for _, field in ipairs({ ... }) do head[field] = nil end
  of(puts, head.id).now = head
end

local function put_rec(id, ref, rec)
  of(recs, id)[ref], of(puts, id)[ref] = rec, rec
end

local function drop_recs(id, refs)
  in_bulk('HDEL', key('request', id), refs)
  for _, ref in ipairs(refs) do of(recs, id)[ref], of(puts, id)[ref] = nil, nil end
end

local function refs_of(several)
  local refs = {}
  for at, one in ipairs(several) do refs[at] = one.ref end
  return refs
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

local KINDS = { 'request', 'values', 'calls', 'events' }

-- A stream has room for 4 KB more than it needs, until it is copied.
local function end_request(id, ttl_ms)
  local events = key('events', id)
  local copied = redis.pcall('COPY', events, events .. ':copy')
  if copied == 1 then redis.call('RENAME', events .. ':copy', events) end
  for _, kind in ipairs(KINDS) do redis.call('PEXPIRE', key(kind, id), ttl_ms) end
end

local function save()
  for id, fields in pairs(puts) do
    local flat = {}
    for field, value in pairs(fields) do
      flat[#flat + 1] = field
      flat[#flat + 1] = cmsgpack.pack(value)
    end
    in_bulk('HSET', key('request', id), flat)
  end
  for id, flat in pairs(values_put) do in_bulk('HSET', key('values', id), flat) end
  local learnt = {}
  for task in pairs(times_learnt) do
    learnt[#learnt + 1] = task
    learnt[#learnt + 1] = times[task]
  end
  in_bulk('HSET', TIMES, learnt)
  for set, entries in pairs(moved) do save_set(set, entries) end
  for id, ttl_ms in pairs(ended) do end_request(id, ttl_ms) end -- last: a key that was only made now goes, too
  puts, values_put, times_learnt, moved, ended = {}, {}, {}, {}, {}
end
