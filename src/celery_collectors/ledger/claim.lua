-- claim: hands out what must be published, and ends what is over, now.
-- Promise: deadlines, retries, lapsed leases, lost messages and the outbox are this one mechanism; what is
-- handed out and not confirmed as published comes again by itself.
-- A: limit, lease_ms, silent_ms (what a living process may take to renew), crash_cap, jitter, gap_ms, listing_ttl_ms,
--    lost {waiting key suffix = stamp}, sweeper + lock_ms + backlog_ms (a sweeper's turn), or only (a request's own
--    timer, for whoever waits for it)
local reply = { orders = {} }

if A.sweeper then
  local holder = redis.call('GET', P .. ':lock')
  if holder and holder ~= A.sweeper then return answer({ busy = true }) end
  redis.call('SET', P .. ':lock', A.sweeper, 'PX', A.lock_ms)
  -- Nobody swept for a while: a stopped laptop, a ledger outage, no worker. Whoever lives is given time to
  -- renew before any lease is taken for lapsed.
  local swept = tonumber(redis.call('HGET', SWEEP, 'at'))
  if not swept or NOW - swept > A.gap_ms then
    redis.call('HSET', SWEEP, 'grace_until', NOW + A.silent_ms)
  end
  redis.call('HSET', SWEEP, 'at', NOW)
  redis.call('ZREMRANGEBYSCORE', PROCS, '-inf', NOW - 10 * A.lease_ms)
  redis.call('ZREMRANGEBYSCORE', INDEX, '-inf', NOW - A.listing_ttl_ms)
end

-- How far each queue had moved `backlog_ms` ago, folded from the marks that start.lua leaves.
local function queue_marks()
  local safe, flat = {}, redis.call('HGETALL', MARKS)
  for i = 1, #flat, 2 do
    local suffix, slot = string.match(flat[i], '^(.+):([^:]+)$')
    local stamp = tonumber(flat[i + 1])
    if slot == 'safe' or (slot + 1) * MARK_MS <= NOW - A.backlog_ms then
      safe[suffix] = math.max(safe[suffix] or 0, stamp)
      if slot ~= 'safe' then redis.call('HDEL', MARKS, flat[i]) end
    end
  end
  for suffix, stamp in pairs(safe) do redis.call('HSET', MARKS, suffix .. ':safe', stamp) end
  return next(safe) and safe or nil
end
if A.sweeper then
  reply.marks = queue_marks()
  reply.stored = #redis.call('ZRANGEBYSCORE', STORED, '-inf', NOW, 'LIMIT', 0, 1) > 0 or nil -- sift.lua sees to it
end
local grace_until = tonumber(redis.call('HGET', SWEEP, 'grace_until')) or 0

local function over(head) -- the request's own timer
  if head.closing then
    if not close(head) then
      reply.more = true
    elseif not REQUEST_ENDED[head.state] then
      finish_collecting(head, nil, reply)
    end
  elseif head.again then
    reopen(head, reply)
  elseif head.state == 'collecting' and NOW >= head.deadline_at then
    begin_closing(head, 'timed_out', nil, reply)
    reply.more = reply.more or head.closing ~= nil
  elseif not REQUEST_ENDED[head.state] and head.state ~= 'collecting' and NOW >= head.finish_at then
    local ref = stages_of(head)[head.stage].ref
    local rec = get_rec(head.id, ref)
    give_up(head, ref, rec, 'timed_out', {
      type = 'Timeout', kind = 'system', retryable = true,
      message = 'the ' .. ref .. ' stage did not finish in the time given to the stages'
        .. (rec.error and '; its last attempt failed: ' .. rec.error.message or '')
        .. (rec.state == 'queued' and returned(rec) and '; ' .. why_returned(rec) or ''),
    }, reply)
  elseif REQUEST_ENDED[head.state] then
    due_no_more(head.id)
  elseif head.moving then
    call_anew(head, reply)
  else
    set_timer(head)
  end
end

-- At its time limit a process settles its own run. If that did not happen it is dead, or alive and stuck: that
-- shows when it renews again, or does not.
local function lapsed(head, ref, rec, entry)
  local seen = tonumber(redis.call('ZSCORE', PROCS, rec.owner)) or 0
  local over_time = NOW >= rec.ends_at
  if over_time and seen <= rec.ends_at and NOW < seen + A.silent_ms then
    return due_at(entry, seen + A.silent_ms)
  end
  local crashed = NOW >= seen + (over_time and A.silent_ms or A.lease_ms)
  lapse(head, ref, rec, crashed, A.jitter, A.crash_cap, reply)
end

local function due(head, ref, entry)
  local rec = get_rec(head.id, ref)
  local follows = is_link(ref) or ref == 'result' -- these outlive their request
  if not rec or RUN_ENDED[rec.state] or REQUEST_ENDED[head.state] and not follows then
    due_no_more(entry)
  elseif not follows and not is_stage(ref) and (head.closing or NOW >= head.deadline_at) then
    due_no_more(entry) -- the request's own timer ends it
  elseif rec.state == 'queued' and NOW >= (rec.expires_at or math.huge) then
    give_up(head, ref, rec, 'timed_out', {
      type = 'Timeout', kind = 'transient', retryable = true,
      message = 'expired after ' .. seconds(math.max(0, NOW - rec.queued_at)) .. ' in the queue',
    }, reply)
  elseif rec.state == 'queued' then
    reply.orders[#reply.orders + 1] = order(head, ref, rec)
  elseif rec.state == 'retrying' then
    requeue(head, ref, rec, reply)
  elseif NOW < grace_until then
    due_at(entry, grace_until)
  else
    lapsed(head, ref, rec, entry)
  end
end

local function handle(entry)
  local id, ref = string.match(entry, '^(%S+) (%S+)$')
  local head = get_head(id or entry)
  if head and ref then return due(head, ref, entry) end
  if head then return over(head) end
  if redis.call('EXISTS', key('request', id or entry)) == 1 then -- not sealed yet
    due_at(entry, NOW + HAND_OUT_MS)
  else
    due_no_more(entry)
  end
end

if A.only then
  local score = when_due(A.only)
  if score and score <= NOW then handle(A.only) end
  return answer(reply)
end

local entries = redis.call('ZRANGEBYSCORE', DUE, '-inf', NOW, 'LIMIT', 0, A.limit)
for _, entry in ipairs(entries) do
  if may_close <= 0 then -- enough for one call; the rest is still due
    reply.more = true
    break
  end
  -- An earlier entry of this call may have settled this one.
  local score = when_due(entry)
  if score and score <= NOW then handle(entry) end
end
reply.more = reply.more or #entries == A.limit
save() -- what follows reads what was changed

-- Backlog is not loss: a published run that nobody started is published again (same delivery) only when its
-- queue has demonstrably moved past it, or a worker of the queue sat idle: `lost` says up to which stamp.
for suffix, stamp in pairs(A.lost or {}) do
  local waiting = P .. ':waiting:' .. suffix
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', '(' .. stamp, 'LIMIT', 0, A.limit)) do
    redis.call('ZREM', waiting, entry)
    local id, ref = string.match(entry, '^(%S+) (%S+)$')
    local head = get_head(id)
    local rec = head and get_rec(id, ref)
    if rec and rec.state == 'queued' and (is_link(ref) or not REQUEST_ENDED[head.state]) then
      reply.orders[#reply.orders + 1] = order(head, ref, rec)
    end
  end
end
return answer(reply)
