-- How runs, stages and links end, and what that decides. Comes after life.lua in every script.

-- The policy; model.Policy says the same in Python, and a test holds them together.
local function is_met(head)
  return head.answered >= head.min_ok and head.required_open == 0
end
local function is_impossible(head)
  return head.required_missing > 0 or head.answered + head.open < head.min_ok
end
local function ends_early(head)
  return head.first ~= nil and head.answered >= head.first and is_met(head)
end

local function unanswered(head) -- the required runs that did not answer, by name; the first few
  local names, last = {}, math.min(head.runs, CLOSE_AT_ONCE) - 1
  load_runs(head.id, 0, last)
  for at = 0, last do
    local rec = get_rec(head.id, tostring(at))
    if rec.required and not RUN_ANSWERED[rec.state] then names[#names + 1] = rec.name end
    if #names == 5 then break end
  end
  return #names > 0 and table.concat(names, ', ') or head.required_open .. ' of them'
end

local function finish_collecting(head, who, reply)
  if is_met(head) then return enter_stage(head, 0, who, reply) end
  finish(head, 'failed', {
    type = 'PolicyNotMet', kind = 'transient', retryable = true,
    message = head.required_open > 0 and 'required, and without an answer: ' .. unanswered(head)
      or string.format('%d answered, and min_ok asks for %d', head.answered, head.min_ok),
  }, reply)
end

-- Why an answer is more than the request may have, if it is.
local function over_cap(head, items, bytes)
  for field, more in pairs({ items = items, bytes = bytes }) do
    local most = head['max_' .. field]
    if most and (head[field] or 0) + more > most then
      local setting = 'request_max_' .. field
      return {
        type = 'TooLarge', kind = 'config', retryable = false,
        message = string.format('with it the request would have %.0f %s, and %s allows %.0f; to raise that, set '
          .. 'COLLECTORS_%s', (head[field] or 0) + more, field, setting, most, string.upper(setting)),
      }
    end
  end
end

local function count_end(head, rec)
  local fields = { open = head.open - 1 }
  if RUN_ANSWERED[rec.state] then
    fields.answered = head.answered + 1
    fields.items, fields.bytes = (head.items or 0) + (rec.items or 0), (head.bytes or 0) + (rec.bytes or 0)
    if rec.required then fields.required_open = head.required_open - 1 end
  else
    if RUN_MISSING[rec.state] then fields.missing = head.missing + 1 end
    if rec.required then fields.required_missing = head.required_missing + 1 end
  end
  set_head(head, fields)
end

-- The end of a run's or stage's life, as its record tells it. A finished request should be small.
local OF_THE_LIVING = { 'owner', 'token', 'queued_at', 'started_at', 'ends_at', 'returned', 'restamped' }
local function conclude(rec, state, err)
  local ran_until = rec.state == 'running' and NOW or rec.ended_at -- not beyond an attempt that ended before
  move(rec, state)
  rec.ended_at, rec.error = NOW, err
  if rec.started_at and ran_until then rec.run_ms = rec.run_ms or ran_until - rec.started_at end
  rec.wait_ms = rec.wait_ms or math.max(0, NOW - rec.queued_at) -- it may not have been due yet
  for _, field in ipairs(OF_THE_LIVING) do rec[field] = nil end
end

local function end_rec(head, ref, rec, state, err)
  conclude(rec, state, err)
  put_rec(head.id, ref, rec)
  forget(head, ref, rec)
  emit_rec(head, ref, rec, err and { error = err }, rec.items)
end

local function end_run(head, ref, rec, state, err)
  end_rec(head, ref, rec, state, err)
  count_end(head, rec)
end

local function seconds(ms) return string.format('%.1f s', ms / 1000) end

local function why_returned(rec)
  local by = returned(rec).by
  if by == '' then
    return string.format('its process died %d times, so it goes alone, and its turn did not come in time', rec.crashes)
  end
  return 'no worker that was given it knows the task ' .. rec.task .. ' (the last was ' .. by
    .. '): start workers that have the newest version of the app'
end

local function closing_error(head, rec, state)
  if state == 'timed_out' and rec.state == 'queued' and returned(rec) then
    return { type = 'Timeout', kind = 'system', message = why_returned(rec), retryable = true }
  end
  if state == 'timed_out' then
    local message
    if not rec.started_at and NOW < rec.queued_at then
      message = 'was not due before the deadline'
    elseif not rec.started_at then -- in this generation
      message = 'waited ' .. seconds(NOW - rec.queued_at) .. ' in the queue and never started before the deadline'
    elseif rec.state == 'running' then
      message = 'was still running at the deadline, after ' .. seconds(NOW - rec.started_at)
    elseif rec.error then
      message = 'the deadline came before another attempt; the last one failed: ' .. rec.error.message
    else
      message = 'the deadline came before it could run again'
    end
    return { type = 'Timeout', kind = 'transient', message = message, retryable = true }
  end
  if state == 'cancelled' then
    return { type = 'Cancelled', kind = 'system', message = 'the request was cancelled', retryable = true }
  end
  return nil -- skipped: nothing went wrong
end

-- End the runs that are still open, some at a time; true once none is left.
local may_close = CLOSE_AT_ONCE
local function close(head)
  local at = head.cursor or 0
  load_runs(head.id, at, math.min(at + may_close, head.runs) - 1)
  while at < head.runs and may_close > 0 and head.open > 0 do
    local ref = tostring(at)
    local rec = get_rec(head.id, ref)
    if not RUN_ENDED[rec.state] then
      end_run(head, ref, rec, head.closing, closing_error(head, rec, head.closing))
    end
    at, may_close = at + 1, may_close - 1
  end
  if head.open == 0 or at >= head.runs then
    unset_head(head, 'closing', 'cursor')
    return true
  end
  set_head(head, { cursor = at })
  due_at(head.id, NOW)
  return false
end

local function begin_closing(head, state, who, reply)
  set_head(head, { closing = state, cursor = 0 })
  if close(head) and not REQUEST_ENDED[head.state] then finish_collecting(head, who, reply) end
end

-- A run has ended: does that decide the request?
local function after_run(head, who, reply)
  if head.closing or head.again then return end -- whoever is closing or reopening it decides
  if head.open == 0 then
    finish_collecting(head, who, reply)
  elseif ends_early(head) or is_impossible(head) then
    begin_closing(head, 'skipped', who, reply)
  end
end

-- A run has failed for good, or a stage, or a link.
local function give_up(head, ref, rec, state, err, reply)
  if is_link(ref) then return end_rec(head, ref, rec, state, err) end
  if is_stage(ref) then
    end_rec(head, ref, rec, state, err)
    return finish(head, state == 'cancelled' and 'cancelled' or 'failed', err, reply)
  end
  end_run(head, ref, rec, state, err)
  after_run(head, nil, reply)
end

local function requeue(head, ref, rec, reply)
  move(rec, 'queued')
  rec.queued_at, rec.owner, rec.token = NOW, nil, nil
  put_rec(head.id, ref, rec)
  emit_rec(head, ref, rec)
  reply.orders[#reply.orders + 1] = order(head, ref, rec)
end

-- An attempt failed: again after a pause, which is returned, if that can help and there is time; else the end of it.
local function fail(head, ref, rec, state, err, jitter, reply, asked_ms)
  rec.failures = rec.failures + 1
  rec.error = err
  local pause = math.min(rec.backoff_cap_ms, rec.backoff_ms * 2 ^ (rec.failures - 1))
  pause = asked_ms or math.floor(pause * (0.5 + jitter / 2)) -- a task that asks to be tried again says when
  local again = asked_ms or err.retryable and rec.failures <= rec.retries
  if again and NOW + pause < latest(head, ref) and not head.closing then
    move(rec, 'retrying')
    rec.ended_at = NOW
    put_rec(head.id, ref, rec)
    due_at(member(head.id, ref), NOW + pause)
    emit_rec(head, ref, rec, { error = err, delay_s = pause / 1000 })
    return pause
  else
    give_up(head, ref, rec, state, err, reply)
  end
end

local ONCE = 'its process died, and a task with acks_late=False is not run again'

-- A lease has lapsed, or its process is known to be dead.
local function lapse(head, ref, rec, crashed, jitter, cap, reply)
  if not crashed and NOW >= rec.ends_at then
    local message = 'ran into its time limit after ' .. seconds(rec.ends_at - rec.started_at)
    return fail(head, ref, rec, 'timed_out',
      { type = 'Timeout', kind = 'transient', message = message, retryable = true }, jitter, reply)
  end
  if crashed then rec.crashes = rec.crashes + 1 end
  if rec.crashes < cap and not rec.once then return requeue(head, ref, rec, reply) end
  give_up(head, ref, rec, 'lost', {
    type = 'Lost', kind = 'system', retryable = false,
    message = rec.once and ONCE or string.format('the process running it died %d times', rec.crashes),
  }, reply)
end

-- An attempt is given back untouched; a task that must not be run again is lost all the same once it has begun.
local function hand_back(head, ref, rec, reply)
  if not rec.once then return requeue(head, ref, rec, reply) end
  give_up(head, ref, rec, 'lost', { type = 'Lost', kind = 'system', retryable = false, message = ONCE }, reply)
end

-- A chain's next task: the same run goes on, under another delivery, so that older messages are void.
local function next_step(head, ref, rec, reply)
  local step, more = rec.more[1], {}
  for at = 2, #rec.more do more[at - 1] = rec.more[at] end
  forget(head, ref, rec) -- before it names another queue
  rec.step, rec.delivery, rec.failures, rec.crashes = (rec.step or 0) + 1, rec.delivery + 1, 0, 0
  rec.task, rec.queue, rec.priority, rec.once = step.task, step.queue, step.priority or false, step.once or false
  rec.timeout_ms, rec.retries, rec.more = step.timeout_ms, step.retries or 0, more
  rec.items, rec.bytes, rec.expires_at = nil, nil, nil -- what was made is no answer; what has begun does not expire
  if rec.state == 'retrying' then move(rec, 'queued') end -- an attempt that was given up came home after all
  if rec.state == 'running' then return requeue(head, ref, rec, reply) end
  put_rec(head.id, ref, rec)
  reply.orders[#reply.orders + 1] = order(head, ref, rec)
end

-- A task may ask to be tried again with other arguments; they are part of the call that is published then.
local function ask_again(head, one, call)
  if one.again_ms and #call > 0 then redis.call('HSET', key('calls', head.id), one.ref, call) end
end

-- Whether this very attempt was settled already, by a call whose reply was lost. A success that comes after its
-- attempt was given up is not that: it is news. A chain has gone on since, with nothing answered yet.
local function settled_before(rec, one)
  return rec.settled == one.attempt and rec.generation == one.generation
    and (not RUN_ANSWERED[one.state] or RUN_ANSWERED[rec.state] or (rec.step or 0) > (one.step or 0))
end

local function late(head, rec)
  set_head(head, { late = (head.late or 0) + 1 })
  return { kept = false, reason = 'late', state = rec.state }
end

-- The stage that the lost reply gave to its caller, if it still is the caller's.
local function again(head, who)
  local stage = who and head.stage > 0 and stages_of(head)[head.stage]
  local rec = stage and not REQUEST_ENDED[head.state] and get_rec(head.id, stage.ref)
  if not rec or rec.state ~= 'running' or rec.token ~= who.token then return nil end
  return grant_in_place(head, stage.ref, rec, who)
end

local function answer(reply)
  save()
  return cmsgpack.pack(reply)
end

local function answer_granted(head, reply, granted) -- values are raw bytes, not text
  local text = answer(reply)
  return { text, unpack(given(head, granted)) }
end

local function answer_each(head, reply, each) -- of several attempts, what became of each
  if #each == 1 then
    for field, value in pairs(each[1]) do reply[field] = value end
  else
    reply.each = each
  end
  return answer_granted(head, reply, reply.next)
end

-- What these values point to is not needed until the request's end any more: a sweeper looks at it now.
local function look_soon(id, values)
  local begins = key('payload', id) .. ':'
  for _, value in ipairs(values) do
    local _, last = string.find(value or '', begins, 1, true)
    if last then
      local ref, number = string.match(value, '^(.-):(%d+%.%d+)', last + 1)
      redis.call('ZADD', STORED, 'XX', NOW, member(id, ref) .. ' ' .. number)
    end
  end
end
