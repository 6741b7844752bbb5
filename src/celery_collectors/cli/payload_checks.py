"""What the doctor looks at where large values lie."""

from __future__ import annotations

import uuid

from redis.exceptions import RedisError

from celery_collectors.cli.check import Check
from celery_collectors.cli.place import Place
from celery_collectors.errors import UnavailableError

SAMPLE = b"written by collectors doctor"


def payloads(place: Place) -> Check:
    """Whether it can be written and read from here; workers elsewhere must see the same place."""
    ledger, blobs = place.collectors.client.ledger, place.collectors.client.store.blobs
    key = f"{ledger.fleet}:payload:doctor-{uuid.uuid4()}"
    remedy = "mend the setting payloads (COLLECTORS_PAYLOADS), or whatever keeps us out"
    try:
        blobs.put(key, 0, SAMPLE, ttl_s=60)
        found = blobs.get(key, 0)
        blobs.delete([key])
    except UnavailableError as error:
        return Check(name="payloads", state="fail", message=str(error), remedy=remedy, unreachable=True)
    except RedisError as error:
        return Check(name="payloads", state="fail", message=f"{blobs.where} refuses us: {error}", remedy=remedy)
    if found != SAMPLE:
        message = f"{blobs.where} does not give back what was written to it"
        return Check(name="payloads", state="fail", message=message, remedy=remedy)
    return Check(name="payloads", state="ok", message=f"{blobs.where} can be written and read")
