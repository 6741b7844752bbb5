-- published: the broker has confirmed these messages; from now on the backlog rule watches them.
-- Promise: a run that was started, ended, given back or handed out anew meanwhile is left alone: a copy that was sent
-- before the broker went away may be gone with it.
-- A: orders [{request_id, ref, generation, delivery, stamp (absent from the opener's own)}...]
local function handed_out_later(head, sent, rec)
  local due = when_due(member(head.id, sent.ref))
  local until_then = sent.stamp and sent.stamp + HAND_OUT_MS or rec.queued_at + to_publish(sent.ref)
  return due and due ~= rec.expires_at and due > until_then
end

local refs = {}
for _, sent in ipairs(A.orders) do table.insert(of(refs, sent.request_id), sent.ref) end
for id, some in pairs(refs) do load(id, some) end

local count = 0
for _, sent in ipairs(A.orders) do
  local head = get_head(sent.request_id)
  local rec = head and get_rec(sent.request_id, sent.ref)
  local current = rec and head.generation == sent.generation and rec.delivery == sent.delivery
  if current and sent.ref == 'result' then -- not a message: it has been stored where Celery looks for it
    drop_recs(head.id, { sent.ref })
    due_no_more(member(head.id, sent.ref))
  elseif current and returned(rec) and (sent.stamp or 0) <= returned(rec).stamp then
    count = count + 1 -- a worker has had it meanwhile, and did not run it: it comes again by itself
  elseif current and rec.state == 'queued' and not handed_out_later(head, sent, rec) then
    if rec.expires_at then
      due_at(member(head.id, sent.ref), rec.expires_at)
    else
      due_no_more(member(head.id, sent.ref))
    end
    waits(head, sent.ref, rec)
    if sent.stamp and not rec.restamped and tonumber(sent.ref) then -- see start.lua
      rec.restamped = true
      put_rec(head.id, sent.ref, rec)
    end
    count = count + 1
  end
end
return answer({ published = count })
