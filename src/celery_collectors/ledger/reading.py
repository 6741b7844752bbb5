"""Reading the ledger: a request's report, lists of requests, the event stream, stored values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count, islice, takewhile
from typing import Any

import msgspec
from redis import Redis

from celery_collectors.errors import PayloadError, RequestUnknown
from celery_collectors.events import Event
from celery_collectors.ledger.choice import Ended
from celery_collectors.ledger.finding import Page, Summary, summarised
from celery_collectors.ledger.ledger import Ledger
from celery_collectors.ledger.records import RecordView, WorkerBeat
from celery_collectors.ledger.stored import HEAD, head_of, records_of
from celery_collectors.model import (
    REQUEST_ENDED,
    RUN_ANSWERED,
    STAGES,
    ErrorInfo,
    Outcome,
    Policy,
    Report,
    RequestState,
    RunState,
    at,
)
from celery_collectors.payloads import PayloadStore, Value
from celery_collectors.payloads.codec import decode_result

READ_AT_ONCE = 200
LOOK_AT_MOST = 5000  # of requests that a list with a filter passes over, a tenth of a second's work
SILENT_S = 15  # five beats


class Reader:
    """Reads what the ledger and the payload store hold.

    Args:
        ledger: The ledger.
        store: The payload store that its values refer to.
        accept: The content types of tasks' own values that may be decoded, beside JSON.
    """

    def __init__(self, ledger: Ledger, store: PayloadStore, accept: Iterable[str] = ()) -> None:
        self._ledger = ledger
        self._store = store
        self._accept = ["json", *accept]

    def report(self, request_id: str) -> Report:
        """A request's report as of now, from one consistent read.

        Raises:
            RequestUnknown: when the ledger does not hold it.
        """
        head, records, raw_results = self._whole(request_id)
        state = RequestState(head["state"])
        done = state in (RequestState.COMPLETE, RequestState.PARTIAL)
        return Report(
            request_id=request_id,
            topic=head["topic"],
            state=state,
            generation=head["generation"],
            created_at=at(head["created_at"]),
            deadline_at=at(head["deadline_at"]),
            finished_at=at(head["finished_at"]) if "finished_at" in head else None,
            outcomes={records[ref].name: _outcome(records[ref]) for ref in _runs(records)},
            stages={ref: _outcome(records[ref]) for ref in STAGES if ref in records},
            result=self._result(*raw_results) if done else None,
            error=msgspec.convert(head["error"], ErrorInfo) if "error" in head else None,
        )

    def _whole(self, request_id: str) -> tuple[dict[str, Any], dict[str, RecordView], list[bytes | None]]:
        """A request's head, its runs and stages by ref, and what process and gathering gave, from one read."""
        with self._ledger.answering() as client, client.pipeline(transaction=True) as pipe:
            pipe.hgetall(self._ledger.key("request", request_id))
            pipe.hmget(self._ledger.key("values", request_id), "process", "gathering")
            fields, raw_results = pipe.execute()
        head = head_of(*(fields.get(name.encode()) for name in HEAD))
        if head is None:
            raise RequestUnknown(request_id)
        records = records_of(head, fields)
        return head, {ref: msgspec.convert(record, RecordView) for ref, record in records.items()}, raw_results

    def ended(self, request_id: str) -> Ended:
        """A request as a retry of it finds it.

        Raises:
            RequestUnknown: when the ledger does not hold it.
        """
        head, records, _ = self._whole(request_id)
        began_at = head.get("began_at", head["created_at"])
        return Ended(
            request_id=request_id,
            state=RequestState(head["state"]),
            generation=head["generation"],
            policy=Policy(min_ok=head["min_ok"], first=head["first"]),
            runs={ref: records[ref] for ref in _runs(records)},
            error=msgspec.convert(head["error"], ErrorInfo) if "error" in head else None,
            deadline_s=(head["deadline_at"] - began_at) / 1000,
            finish_s=(head["finish_at"] - head["deadline_at"]) / 1000,
        )

    def keep(self, request_id: str, for_s: float) -> None:
        """Let what its runs have stored live so much longer.

        Raises:
            PayloadError: when something of it is gone.
        """
        refs = self._stored(request_id) - set(STAGES)
        with self._ledger.answering():
            self._store.keep(self.values(request_id, sorted(refs)), for_s)

    def _result(self, processed: bytes | None, gathered: bytes | None) -> Any:
        if processed:
            return self.made_by("process", Value.from_bytes(processed))
        value = Value.from_bytes(gathered) if gathered else Value()
        return self._store.single(value, self._accept) if value.media else None

    def answer(self, report: Report) -> Any:
        """What a chord came to: what its callback or the process stage returned, else the items at the end."""
        if report.result is not None or "process" in report.stages:
            return report.result
        refs = [ref for ref in STAGES if ref in report.stages][-1:]
        return self.single(report.request_id, refs[0]) if refs else None

    def made_by(self, stage: str, value: Value) -> Any:
        """What a chord came to whose last stage made this value."""
        with self._ledger.answering():
            if stage == "process":
                return decode_result(self._store.data(value))
            return self._store.single(value, self._accept)

    # Values ---------------------------------------------------------------------------------------

    def answered(self, request_id: str) -> list[str]:
        """The refs of the runs that produced items, in the order asked."""
        return _runs(self._stored(request_id))

    def values(self, request_id: str, refs: Sequence[str]) -> Iterator[Value]:
        """The stored values of runs or stages, in this order."""
        for start in range(0, len(refs), READ_AT_ONCE):
            some = refs[start : start + READ_AT_ONCE]
            with self._ledger.answering() as client:
                found: Any = client.hmget(self._ledger.key("values", request_id), list(some))
            for ref, raw in zip(some, found, strict=True):
                if raw is None:
                    raise PayloadError(f"the value of {ref!r} is gone from request {request_id}")
                yield Value.from_bytes(raw)

    def single(self, request_id: str, ref: str) -> Any:
        """What one run, stage or step of a chain returned."""
        (value,) = self.values(request_id, [ref])
        return self._single(value)

    def results(self, report: Report, instead: Sequence[Any] = ()) -> Iterator[Any]:
        """What each run returned, in the order asked: what a chord's callback gets.

        Args:
            report: The request's.
            instead: Empty, or the one value that stands for each run that failed.
        """
        states = [outcome.state for outcome in report.outcomes.values()]
        answered = self.values(report.request_id, [str(ref) for ref, s in enumerate(states) if s in RUN_ANSWERED])
        for state in states:
            if state in RUN_ANSWERED:
                yield self._single(next(answered))
            else:
                yield from instead

    def items_of(self, request_id: str, refs: Sequence[str]) -> Iterator[Any]:
        """All items of these runs or stages, in order, one blob in memory at a time."""
        return chain.from_iterable(self._lists(self.values(request_id, refs)))

    def items_before(self, request_id: str, stage: str) -> Iterator[Any]:
        """The items that a stage gets: those of the last stage before it that made items, or of all runs."""
        return chain.from_iterable(self._lists(self.values_before(request_id, stage)))

    def values_before(self, request_id: str, stage: str) -> Iterator[Value]:
        """The stored values that a stage gets its items from."""
        stored = self._stored(request_id)
        order = list(STAGES)
        earlier = [ref for ref in order[: order.index(stage)] if ref in stored]
        return self.values(request_id, earlier[-1:] or _runs(stored))

    def first_items(self, values: Iterable[Value], most: int, blob_bytes: int) -> list[Any] | None:
        """The first items of these values, up to where one is too large to be read for that; ``None`` if the first is.

        Args:
            values: Where they lie.
            most: How many at most.
            blob_bytes: How much is read at once: a single value as a whole, of items one blob, in the mean of its
                value's, which holds many small ones or one that is huge.
        """
        found = list[Any]()
        for value in values:
            if value.size > blob_bytes * (1 if value.media else max(1, value.blobs)):
                return found or None
            found += islice(chain.from_iterable(self._lists([value])), most - len(found))
            if len(found) >= most:
                break
        return found

    def results_of_runs(self, request_id: str) -> Iterator[list[Any]]:
        """One list of items per run that produced any, in the order asked: what a gathering stage gets."""
        for ref in self.answered(request_id):
            yield list(self.items_of(request_id, [ref]))

    # Values that came with a grant ----------------------------------------------------------------

    def given_items(self, given: Iterable[bytes | None]) -> Iterator[Any]:
        """All items of these values, as :meth:`items_of` has them."""
        return chain.from_iterable(self._lists(Value.from_bytes(raw) for raw in given if raw is not None))

    def given_lists(self, given: Iterable[bytes | None]) -> Iterator[list[Any]]:
        """One list of items for each of these values, as :meth:`results_of_runs` has them."""
        for raw in given:
            if raw is not None:
                yield list(chain.from_iterable(self._lists([Value.from_bytes(raw)])))

    def given_results(self, given: Iterable[bytes | None], instead: Sequence[Any] = ()) -> Iterator[Any]:
        """What each run returned, as :meth:`results` has it."""
        for raw in given:
            if raw is None:
                yield from instead
            else:
                yield self._single(Value.from_bytes(raw))

    def _lists(self, values: Iterable[Value]) -> Iterator[list[Any]]:
        """The items of these values, some at a time: whoever chains them passes each on without a word of Python."""
        for value in values:
            if value.media:
                single = self._single(value)
                yield single if isinstance(single, list) else [single]
            else:
                with self._ledger.answering():
                    yield from self._store.lists(value)

    def _single(self, value: Value) -> Any:
        with self._ledger.answering():
            return self._store.single(value, self._accept)

    def _stored(self, request_id: str) -> set[str]:
        """The refs of the runs and stages whose values are there."""
        with self._ledger.answering() as client:
            refs: Any = client.hkeys(self._ledger.key("values", request_id))
        return {ref.decode() for ref in refs}

    # Lists and events -----------------------------------------------------------------------------

    def page(
        self,
        limit: int = 20,
        cursor: str | None = None,
        *,
        wanted: Callable[[Summary], bool] | None = None,
        since_ms: float = 0.0,
    ) -> Page:
        """Requests, newest first, merged over all shards.

        Args:
            limit: How many at most.
            cursor: From the page before.
            wanted: Says which to list. Some thousands are looked at, whatever is found; the cursor goes on from there.
            since_ms: Where the list ends.
        """
        found: list[Summary] = []
        looked_at = 0
        while True:
            rows, more = self._rows(READ_AT_ONCE if wanted else limit, cursor, since_ms)
            for (score, request_id), summary in zip(rows, self._summaries([row[1] for row in rows]), strict=True):
                cursor = f"{score:.0f}:{request_id}"
                if summary is not None and (wanted is None or wanted(summary)):
                    found.append(summary)
                if len(found) == limit:
                    return Page(found, cursor if more or (score, request_id) != rows[-1] else None)
            looked_at += len(rows)
            if not more or wanted is None or looked_at >= LOOK_AT_MOST:
                return Page(found, cursor if more else None)

    def _rows(self, limit: int, cursor: str | None, since_ms: float) -> tuple[list[tuple[float, str]], bool]:
        found: list[tuple[float, str]] = []
        with self._ledger.answering() as client:
            for shard in self._ledger.shards:
                rows = islice(_older(client, f"{shard}:index", cursor), limit + 1)
                found += takewhile(lambda row: row[0] >= since_ms, rows)
        found.sort(reverse=True)
        return found[:limit], len(found) > limit

    def _summaries(self, request_ids: Sequence[str]) -> Iterator[Summary | None]:
        with self._ledger.answering() as client, client.pipeline(transaction=False) as pipe:
            for request_id in request_ids:
                pipe.hmget(self._ledger.key("request", request_id), HEAD)
            rows = pipe.execute()
        return (summarised(one, head_of(*fields)) for one, fields in zip(request_ids, rows, strict=True))

    def outcomes(self, request_ids: Sequence[str]) -> list[dict[str, Outcome]]:
        """The outcomes of several requests' runs by name; of one that is gone, none."""
        with self._ledger.answering() as client, client.pipeline(transaction=False) as pipe:
            for request_id in request_ids:
                pipe.hgetall(self._ledger.key("request", request_id))
            found = pipe.execute()
        return [{one.name: _outcome(one) for one in _run_records(fields)} for fields in found]

    def events(self, request_id: str, after: str = "0", *, block_s: float = 0.0) -> list[Event]:
        """The request's events after an id; waits up to ``block_s`` for the first."""
        with self._ledger.answering() as client:
            found: Any = client.xread(
                {self._ledger.key("events", request_id): after},
                count=500,
                block=max(1, int(block_s * 1000)) if block_s else None,
            )
        streams = found.values() if isinstance(found, dict) else (entries for _, entries in found)
        return [_event(request_id, entry_id, fields) for entries in streams for entry_id, fields in _flat(entries)]

    @contextmanager
    def end_of(self, request_id: str) -> Iterator[Callable[[float], None]]:
        """Listen for a request's end; yields a function that waits for it, so many seconds at most."""
        with self._ledger.answering() as client, _listening(client) as channel:
            channel.subscribe(self._ledger.key("ended", request_id))
            channel.get_message(timeout=1)  # the subscription's own confirmation: from here on nothing is missed

            def wait(at_most_s: float) -> None:
                channel.get_message(timeout=at_most_s)

            yield wait

    def now_ms(self) -> float:
        """The ledger's time."""
        with self._ledger.answering() as client:
            return _ms(client.time())

    def workers(self) -> list[WorkerBeat]:
        """The workers that reported themselves lately, by name."""
        with self._ledger.answering() as client, client.pipeline(transaction=True) as pipe:
            pipe.hvals(f"{self._ledger.fleet}:workers")
            pipe.time()
            rows, now = pipe.execute()
        beats = [_beat(msgspec.json.decode(row), _ms(now)) for row in rows]
        return sorted((beat for beat in beats if beat.silent_ms < SILENT_S * 1000), key=lambda beat: beat.worker)


def _ms(time: Any) -> float:
    seconds, microseconds = time
    return float(seconds * 1000 + microseconds / 1000)


def _beat(row: dict[str, Any], now_ms: float) -> WorkerBeat:
    """A worker's own words, in which times are points, as of now."""
    since_ms = row.get("idle_since_ms")
    spans = {"silent_ms": now_ms - row["at_ms"], "idle_for_ms": None if since_ms is None else now_ms - since_ms}
    return msgspec.convert(row | spans, WorkerBeat)


def _older(client: Redis, index: str, cursor: str | None) -> Iterator[tuple[float, str]]:
    newest, _, last = cursor.partition(":") if cursor else ("+inf", "", "")
    for start in count(0, READ_AT_ONCE):
        rows: Any = client.zrevrangebyscore(index, newest, "-inf", start=start, num=READ_AT_ONCE, withscores=True)
        for raw, score in rows:
            row = (score, raw.decode())
            if cursor is None or row < (float(newest), last):
                yield row
        if len(rows) < READ_AT_ONCE:
            return


def _flat(entries: Any) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    for entry in entries:  # RESP3 nests one level deeper
        if isinstance(entry, list):
            yield from _flat(entry)
        else:
            yield entry


def _event(request_id: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    subject, name, state, attempt, items, generation, at_ms, *more = msgspec.msgpack.decode(fields[b"e"])
    known = {
        "request_id": request_id,
        "subject": subject,
        "name": name,
        "state": state,
        "attempt": attempt,
        "items": items,
        "generation": generation,
        "at_ms": at_ms or int(entry_id.partition(b"-")[0]),
        "id": entry_id.decode(),
    }
    return msgspec.convert(known | (more[0] if more else {}), Event)


def _run_records(fields: dict[bytes, bytes]) -> Iterator[RecordView]:
    head = head_of(*(fields.get(name.encode()) for name in HEAD))
    records = records_of(head, fields) if head is not None else {}
    return (msgspec.convert(records[ref], RecordView) for ref in _runs(records))


def _outcome(record: RecordView) -> Outcome:
    return Outcome(
        state=RunState(record.state),
        attempts=record.attempt,
        items=record.items,
        bytes=record.bytes,
        wait_s=_seconds(record.wait_ms),
        run_s=_seconds(record.run_ms),
        worker=record.worker,
        error=record.error,
    )


def _seconds(duration_ms: float | None) -> float | None:
    return None if duration_ms is None else round(duration_ms / 1000, 3)


def _runs(refs: Iterable[str]) -> list[str]:
    """Those refs that are runs', in the order asked; a stage's is a word."""
    return sorted((ref for ref in refs if ref.isdigit()), key=int)


def is_over(client: Redis, request_id: str) -> bool:
    """Whether a request is final or unknown, for one who does not know the app and so not its key prefix."""
    for key in client.scan_iter(f"*:request:{request_id}", count=1000):
        fields: Any = client.hmget(key, HEAD)
        head = head_of(*fields)
        return head is not None and head["state"] in REQUEST_ENDED
    return True


def _listening(client: Any) -> Any:  # redis-py leaves this one call untyped
    return client.pubsub(ignore_subscribe_messages=True)
