-- sift: of the stored values that are due to be looked at, which does nobody need any more?
-- Promise: what a value in the ledger points to stays, as long as its request does; so does what a run or stage that
-- has not ended may still point to. Anything else is handed out until it is said to be gone. Twice: a process that
-- was taken for dead may have been about to write.
-- A: limit, look_ms, again_ms, gone [entry...] (what was handed out before, and has been removed)
for _, entry in ipairs(A.gone) do
  redis.call('ZREM', STORED, entry)
  if string.sub(entry, 1, 2) ~= '!!' then redis.call('ZADD', STORED, NOW + A.again_ms, '!' .. entry) end
end

local function names(value, name) -- whether a value has this key; a longer one begins alike
  local _, last = string.find(value or '', name, 1, true)
  return last and not string.find(value, '^%d', last + 1)
end

local function is_pointed_to(head, ref, rec, number)
  local name = key('payload', head.id) .. ':' .. ref .. ':' .. number
  if names(redis.call('HGET', key('values', head.id), ref), name) then return true end
  for step = 0, (rec and rec.step or 0) - 1 do -- a chain keeps what each of its steps made
    if names(redis.call('HGET', key('values', head.id), ref .. ':' .. step), name) then return true end
  end
  return false
end

-- When to look at it again; nothing if nobody needs it.
local function look_again(id, ref, number)
  local head = get_head(id)
  if not head then return nil end
  local rec = get_rec(id, ref)
  if is_pointed_to(head, ref, rec, number) then
    if REQUEST_ENDED[head.state] then return head.finished_at + head.ttl_ms + 1000 end
    return math.max(head.finish_at, NOW + A.look_ms)
  end
  local is_over = not rec or RUN_ENDED[rec.state] or REQUEST_ENDED[head.state] and not is_link(ref)
  local is_of_before = tonumber(string.match(number, '^%d+')) ~= head.generation
  return not is_over and not is_of_before and NOW + A.look_ms or nil
end

local unwanted = {}
local entries = redis.call('ZRANGEBYSCORE', STORED, '-inf', NOW, 'LIMIT', 0, A.limit)
for _, entry in ipairs(entries) do
  local id, ref, number = string.match(entry, '^([^!%s]%S*) (%S+) (%S+)$')
  local at = id and look_again(id, ref, number)
  if at then
    redis.call('ZADD', STORED, at, entry)
  else
    if id then
      redis.call('ZREM', STORED, entry)
      entry = '!' .. entry
    end
    redis.call('ZADD', STORED, NOW + HAND_OUT_MS, entry)
    unwanted[#unwanted + 1] = entry
  end
end
return answer({ unwanted = #unwanted > 0 and unwanted or nil, more = #entries == A.limit })
