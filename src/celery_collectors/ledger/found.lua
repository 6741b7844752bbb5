-- found: the ledger's first user fixes what can never change; everyone after must agree.
-- Promise: the first value stays.
-- A: shards, schema
local META = P .. ':meta'
redis.call('HSETNX', META, 'shards', A.shards)
redis.call('HSETNX', META, 'schema', A.schema)
return answer({
  shards = tonumber(redis.call('HGET', META, 'shards')), schema = tonumber(redis.call('HGET', META, 'schema')),
})
