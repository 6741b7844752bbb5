-- advance: commits a stage's output and moves the request on; or those of several stages, in their order, that one
-- process has run one after another.
-- Promise: one output per stage and generation, the winner's; the next stage begins only with it in place. What was run
-- along with a stage stands only on that stage's own output: it is begun here, unless another has begun it by now.
-- A: request_id, who, ended [{ref, generation, attempt, state ('ok', 'failed' or 'queued'), items, bytes, run_ms,
--    error, jitter, again_ms}...]
-- ARGV[2...]: of each, the stage's output; or the call that a task asked to be tried again with
-- A link, which follows a chord's end, is committed the same way, and moves nothing on.
load(A.request_id, refs_of(A.ended))
local head = get_head(A.request_id)
local reply, each = { orders = {} }, {}

local function fits(one) -- whether its stage is the one that the request is at
  return head.generation == one.generation and (is_link(one.ref) or head.state == STAGE_STATE[one.ref])
end

local function begin_along(one, rec) -- as start.lua would have
  if rec.state == 'queued' and rec.attempt + 1 == one.attempt and fits(one) and NOW < head.finish_at then
    begin(head, one.ref, rec, A.who)
    return true
  end
end

local function commit(at, one)
  local rec = head and get_rec(head.id, one.ref)
  if not rec then return { kept = false, reason = 'unknown' } end
  if settled_before(rec, one) then
    reply.next = reply.next or again(head, A.who)
    return { kept = true, state = rec.state }
  end
  local is_mine = at == 1 or begin_along(one, rec)
  local current = rec.state == 'running' and rec.attempt == one.attempt
  if not is_mine or not fits(one) or RUN_ENDED[rec.state] or not (one.state == 'ok' or current) then
    return late(head, rec)
  end

  local delay_ms
  local following = A.ended[at + 1]
  rec.settled, rec.generation = one.attempt, one.generation
  if one.state == 'ok' then
    rec.items, rec.bytes, rec.run_ms = one.items, one.bytes, one.run_ms
    learn(rec.task, one.run_ms)
    end_rec(head, one.ref, rec, 'ok', nil)
    if not is_link(one.ref) then
      put_value(head.id, one.ref, ARGV[at + 1])
      local is_first = following and following.attempt == 1 and following.generation == one.generation
      enter_stage(head, head.stage, A.who, reply, is_first and following.ref)
    end
  elseif one.state == 'queued' then
    hand_back(head, one.ref, rec, reply)
  else
    ask_again(head, one, ARGV[at + 1])
    delay_ms = fail(head, one.ref, rec, one.state, one.error, one.jitter, reply, one.again_ms)
  end
  return { kept = true, state = rec.state, delay_ms = delay_ms }
end

local stands = true -- whether what comes next was made from what is in place
for at, one in ipairs(A.ended) do
  each[at] = stands and commit(at, one) or { kept = false, reason = 'late' }
  each[at].ref, stands = one.ref, each[at].kept and each[at].state == 'ok'
end
return answer_each(head, reply, each)
