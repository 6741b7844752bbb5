-- What a request's runs are called for anew by: retry and reprioritise. Some runs at a time, so that none blocks the
-- server for long; whoever began it goes on, and if it dies, the request's own timer does. Comes after ends.lua.

local function set_timer(head)
  local at = head.state == 'collecting' and head.deadline_at or head.finish_at
  if head.closing or head.again or head.moving then at = NOW end -- something else has been begun, and has to go on
  due_at(head.id, at)
end

local LEFT_BEHIND = { -- what a record tells of the generation before; it keeps its attempts, and a chain its steps
  'error', 'wait_ms', 'started_at', 'ended_at', 'run_ms', 'worker', 'items', 'bytes', 'expires_at', 'settled',
  'generation',
}

local function revive(head, ref, reply)
  local rec = get_rec(head.id, ref)
  set_head(head, {
    open = head.open + 1,
    missing = head.missing - (RUN_MISSING[rec.state] and 1 or 0),
    required_missing = head.required_missing - (rec.required and 1 or 0),
  })
  move(rec, 'queued')
  for _, field in ipairs(LEFT_BEHIND) do rec[field] = nil end
  rec.delivery, rec.queued_at, rec.failures, rec.crashes = rec.delivery + 1, NOW, 0, 0
  put_rec(head.id, ref, rec)
  emit_rec(head, ref, rec)
  reply.orders[#reply.orders + 1] = order(head, ref, rec)
end

-- A retried request's runs are queued again; nothing decides it until all of them are.
local function reopen(head, reply)
  local ref = nil
  while may_close > 0 do
    ref = redis.call('LPOP', key('again', head.id))
    if not ref then break end
    revive(head, ref, reply)
    may_close = may_close - 1
  end
  if ref then
    due_at(head.id, NOW)
    reply.more = true
    return
  end
  unset_head(head, 'again')
  set_timer(head)
  if NOW >= head.deadline_at then reply.more = true end -- nobody was there in time: the same sweeper ends it
  after_run(head, nil, reply)
end

-- What waits is called for at the request's present level: under another delivery, so that older messages are void.
local function call_one_anew(head, ref, reply)
  local rec = get_rec(head.id, ref)
  if not rec or rec.state ~= 'queued' or NOW < rec.queued_at then return end
  forget(head, ref, rec)
  rec.delivery = rec.delivery + 1
  put_rec(head.id, ref, rec)
  reply.orders[#reply.orders + 1] = order(head, ref, rec)
end

local function call_anew(head, reply)
  local at = head.moving
  if head.state ~= 'collecting' then
    call_one_anew(head, stages_of(head)[head.stage].ref, reply)
    at = head.runs
  end
  load_runs(head.id, at, math.min(at + may_close, head.runs) - 1)
  while at < head.runs and may_close > 0 do
    call_one_anew(head, tostring(at), reply)
    at, may_close = at + 1, may_close - 1
  end
  if at < head.runs then
    set_head(head, { moving = at })
    due_at(head.id, NOW)
    reply.more = true
  else
    unset_head(head, 'moving')
    set_timer(head)
  end
end
