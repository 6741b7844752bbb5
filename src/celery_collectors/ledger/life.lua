-- How a request, its runs and stages begin, and what follows a request's end. Comes after orders.lua in every script.

-- What follows a chord's end: its result is stored where Celery looks for it, and its links are called.
local function follow(head, state, reply)
  local kind = (state == 'complete' or state == 'partial') and 'link' or state == 'failed' and 'link_error'
  for _, link in ipairs(links_of(head)) do
    if link.kind == kind then
      local rec = with_plan(link, {
        retries = 0, backoff_ms = 0, backoff_cap_ms = 0, call = true,
        state = 'queued', attempt = 0, failures = 0, crashes = 0, delivery = 1, queued_at = NOW,
      })
      put_rec(head.id, link.ref, rec)
      reply.orders[#reply.orders + 1] = order(head, link.ref, rec)
    end
  end
  if head.result_id then
    local rec = { name = head.result_id, task = '', queue = '', state = 'queued', delivery = 1, failures = 0 }
    put_rec(head.id, 'result', rec)
    reply.orders[#reply.orders + 1] = order(head, 'result', rec)
  end
end

-- Whether a link of this generation is still on its way.
local function still_follows(head)
  for _, link in ipairs(links_of(head)) do
    local rec = get_rec(head.id, link.ref)
    if rec and not RUN_ENDED[rec.state] then return true end
  end
  return false
end

local function finish(head, state, err, reply)
  if not follows(REQUEST_NEXT, head.state, state) then
    error('a request can not go from ' .. head.state .. ' to ' .. state)
  end
  local fields = { state = state, finished_at = NOW }
  fields.error = err
  set_head(head, fields)
  due_no_more(head.id)
  emit(head, 'request', head.topic, state, err and { error = err })
  follow(head, state, reply)
  ended[head.id] = head.ttl_ms
  redis.call('PUBLISH', key('ended', head.id), state) -- for whoever waits; who misses it looks again by itself
end

-- Begin an attempt of a queued run or stage; the lease is its score among what is due.
local function begin(head, ref, rec, who)
  move(rec, 'running')
  rec.attempt = rec.attempt + 1
  rec.wait_ms = rec.wait_ms or NOW - rec.queued_at
  rec.started_at, rec.ended_at, rec.run_ms = NOW, nil, nil
  rec.owner, rec.worker, rec.token = who.owner, who.worker, who.token
  rec.ends_at = math.min(NOW + rec.timeout_ms, latest(head, ref))
  waits_no_more(head, ref, rec)
  due_at(member(head.id, ref), math.min(NOW + who.lease_ms, rec.ends_at + who.grace_ms))
  seen(who.owner)
  put_rec(head.id, ref, rec)
  emit_rec(head, ref, rec)
end

local function own_grant(head, ref, rec) -- without what is the same for all that is granted of this request
  return {
    go = true, ref = ref, name = rec.name, attempt = rec.attempt, ends_in_ms = rec.ends_at - NOW,
    ends_at = rec.ends_at, step = rec.step, call = rec.call, failures = rec.failures > 0 and rec.failures or nil,
  }
end

local function share(head, granted)
  granted.request_id, granted.topic, granted.generation = head.id, head.topic, head.generation
  granted.deadline_at, granted.finish_in_ms = head.deadline_at, head.finish_at - NOW
  return granted
end

local function grant(head, ref, rec, in_place)
  local granted = share(head, own_grant(head, ref, rec))
  if rec.call and ref == 'gathering' then
    granted.missing = redis.call('HGET', key('calls', head.id), 'missing') or nil
  end
  if rec.call and in_place then granted.asked = redis.call('HGET', key('calls', head.id), ref) or nil end
  granted.before = is_stage(ref) and head.stage > 1 and stages_of(head)[head.stage - 1].ref or nil
  return granted
end

-- What a stage is made from rides with its grant where it is small: the values of the stage before it, or of each run
-- in order. Whoever gets none reads them.
local GIVEN_RUNS, GIVEN_BYTES = 100, 65536
local function given(head, granted)
  if not granted or not is_stage(granted.ref) then return {} end
  local refs, size = { granted.before }, 0
  if not granted.before then
    if head.runs > GIVEN_RUNS then return {} end
    for at = 1, head.runs do refs[at] = at - 1 end
  end
  local values = #refs > 0 and redis.call('HMGET', key('values', head.id), unpack(refs)) or {}
  if granted.before and not values[1] then return {} end -- which is an error, and told by whoever reads it
  for _, value in ipairs(values) do size = size + (value and #value or 0) end
  return size <= GIVEN_BYTES and values or {}
end

-- Whether a stage may go on in the process that did what comes before it, because it is known to be short.
-- A chord's callback is a message, unless it is a declared stage: any other runs under Celery's own tracer.
local function is_short(head, stage, who)
  if head.messages ~= 'auto' or stage.call and not stage.declared then return false end
  local known = known_ms(stage.task)
  return known ~= nil and known <= who.short_ms
end

local function grant_in_place(head, ref, rec, who) -- with the stages after it that may be run along with it
  local granted, stages, along = grant(head, ref, rec, true), stages_of(head), {}
  for at = head.stage + 1, #stages do
    if stages[at].call or not is_short(head, stages[at], who) then break end
    along[#along + 1] = { ref = stages[at].ref, name = stages[at].name }
  end
  granted['then'] = #along > 0 and along or nil
  return granted
end

-- The next declared stage after `index` stages are done, or the end.
-- `who` is set when the caller could go on with it in place; it does so when the stage is known to be short.
-- `done` names the stage that the caller has run along with this one: that is begun and ended next, by advance.lua.
local function enter_stage(head, index, who, reply, done)
  local stage = stages_of(head)[index + 1]
  if not stage then
    reply.complete = head.missing == 0
    return finish(head, head.missing > 0 and 'partial' or 'complete', nil, reply)
  end
  local state = STAGE_STATE[stage.ref]
  if not follows(REQUEST_NEXT, head.state, state) then
    error('a request can not go from ' .. head.state .. ' to ' .. state)
  end
  set_head(head, { state = state, stage = index + 1 })
  due_at(head.id, head.finish_at)
  if NOW >= head.finish_at then reply.more = true end -- nobody was there in time: the same sweeper ends it
  emit(head, 'request', head.topic, state)
  local rec = with_plan(stage, {
    timeout_ms = head.finish_at - NOW,
    state = 'queued', attempt = 0, failures = 0, crashes = 0, delivery = 1, queued_at = NOW,
  })
  local in_time = NOW < head.finish_at
  if in_time and done == stage.ref then
    put_rec(head.id, stage.ref, rec)
  elseif in_time and who and is_short(head, stage, who) then
    begin(head, stage.ref, rec, who)
    reply.next = grant_in_place(head, stage.ref, rec, who)
  else
    put_rec(head.id, stage.ref, rec)
    reply.orders[#reply.orders + 1] = order(head, stage.ref, rec)
  end
end
