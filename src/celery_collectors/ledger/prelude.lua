-- Where everything is, and what time it is. Prepended to each of them, after the tables that are
-- rendered from model.py: RUN_NEXT, RUN_ENDED, RUN_ANSWERED, RUN_MISSING, REQUEST_NEXT, REQUEST_ENDED, STAGE_STATE.
--
-- KEYS[1] is the shard's prefix; every key is made from it, so that a script touches one cluster slot.
-- ARGV[1] is the call's arguments as MessagePack, ARGV[2] and those after it (where a script has them) raw bytes.
-- Times are milliseconds.

local P = KEYS[1]
local A = cmsgpack.unpack(ARGV[1])
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

local function follows(next, from, to) return string.find(next, '|' .. from .. ' ' .. to .. '|', 1, true) end

local function key(kind, id) return P .. ':' .. kind .. ':' .. id end
local function urgency(rec, head) -- a chord's member may have its own, until the request is given another level
  return head.level_given and head.priority or rec.priority or head.priority
end
local function waiting_key(rec, head) return P .. ':waiting:' .. rec.queue .. ':' .. urgency(rec, head) end
local function member(id, ref) return id .. ' ' .. ref end
