-- leave: a worker that stops in good order says so, so that nobody waits for it.
-- Promise: removes that worker only.
-- A: worker
redis.call('HDEL', P .. ':workers', A.worker)
return answer({})
