-- cancel: once it returns, nothing of the request starts any more, also if every worker is off.
-- Promise: final at once; what runs is named as cancelled to its process at the next renewal.
-- A: request_id, reason, by
local head = get_head(A.request_id)
if not head then return answer({ state = 'unknown' }) end
if REQUEST_ENDED[head.state] then return answer({ state = head.state }) end

if head.state ~= 'collecting' then
  local ref = stages_of(head)[head.stage].ref
  local rec = get_rec(head.id, ref)
  if rec and not RUN_ENDED[rec.state] then
    conclude(rec, 'cancelled', rec.error)
    put_rec(head.id, ref, rec)
    forget(head, ref, rec)
    emit_rec(head, ref, rec)
  end
end
local reply = { state = 'cancelled', kept = true, orders = {} }
finish(head, 'cancelled', {
  type = 'Cancelled', kind = 'system', retryable = true,
  message = 'cancelled' .. (A.by and ' by ' .. A.by or '') .. (A.reason and ': ' .. A.reason or ''),
}, reply)
if head.again then -- it was just being reopened
  unset_head(head, 'again')
  redis.call('UNLINK', key('again', head.id))
end
set_head(head, { closing = 'cancelled', cursor = 0 })
close(head)
return answer(reply)
