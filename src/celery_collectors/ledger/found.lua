-- found: the ledger's first user fixes what can never change; everyone after must agree.
-- Promise: the first value stays.
-- A: shards, schema
local META = P .. ':meta'
redis.call('HSETNX', META, 'shards', A.shards)
redis.call('HSETNX', META, 'schema', A.schema)
redis.call('HSETNX', META, 'made_at', NOW) -- by which its users know it again
return answer({
  made_at = tonumber(redis.call('HGET', META, 'made_at')),
  shards = tonumber(redis.call('HGET', META, 'shards')), schema = tonumber(redis.call('HGET', META, 'schema')),
})
