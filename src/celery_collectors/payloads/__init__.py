"""Big values by reference: the codec, and the store that keeps what is too large for the ledger.

A *value* is the bytes that stand in the ledger for what a run or stage produced: the items themselves
when they are small, else the key under which the store holds their blobs.
"""

from celery_collectors.payloads.codec import decode_items, encode_items, encode_result, encode_value
from celery_collectors.payloads.store import Cap, PayloadStore, PayloadWriter, Value, is_inline

__all__ = [
    "Cap",
    "PayloadStore",
    "PayloadWriter",
    "Value",
    "decode_items",
    "encode_items",
    "encode_result",
    "encode_value",
    "is_inline",
]
