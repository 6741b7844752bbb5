-- beat: a worker says that it is there, which queues it consumes, and since when it has had nothing to do.
-- Promise: a worker that stops beating is forgotten.
-- A: worker, queues, pool, processes, idle_ms (absent while busy), clock_off_ms (absent at first), version;
--    everyone + forget_ms, for whoever has use for what the others said
local WORKERS = P .. ':workers'
redis.call('HSET', WORKERS, A.worker, cjson.encode({
  worker = A.worker, queues = A.queues, pool = A.pool, processes = A.processes, at_ms = NOW,
  idle_since_ms = A.idle_ms and NOW - A.idle_ms or nil, clock_off_ms = A.clock_off_ms, version = A.version,
}))
if not A.everyone then return answer({ now_ms = NOW }) end
local found, flat = {}, redis.call('HGETALL', WORKERS)
for i = 1, #flat, 2 do
  local worker = cjson.decode(flat[i + 1])
  if worker.at_ms < NOW - A.forget_ms then
    redis.call('HDEL', WORKERS, flat[i])
  else
    worker.idle_for_ms = worker.idle_since_ms and NOW - worker.idle_since_ms or nil
    found[#found + 1] = worker
  end
end
return answer({ now_ms = NOW, workers = found })
