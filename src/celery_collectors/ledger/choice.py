"""Which runs a retry is about, and why some can't be: pure functions over a request that has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from celery_collectors.errors import RefusedError
from celery_collectors.ledger.records import RecordView
from celery_collectors.model import RUN_ANSWERED, RUN_MISSING, ErrorInfo, Policy, RequestState, RunState

FAILED = "failed"
NAMED_AT_ONCE = 5
MENDED = "Once that is mended, say so: force=True, or --force"
REFUSED = {
    RequestState.COMPLETE: "is complete, and nothing of it failed",
    RequestState.CANCELLED: "was cancelled, and stays so; ask for its topic anew",
}


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a retry finds it: its runs by ref, in the order asked, and the times that it had."""

    request_id: str
    state: RequestState
    generation: int
    policy: Policy
    runs: Mapping[str, RecordView]
    error: ErrorInfo | None
    deadline_s: float
    finish_s: float


class Choice(msgspec.Struct, frozen=True):
    """The refs of the runs that run again, and the names of those that failed and are left, because it can't help."""

    refs: list[str]
    left: list[str]


def choose(ended: Ended, only: str | Sequence[str], *, force: bool) -> Choice:
    """Decide which runs run again.

    Args:
        ended: The request.
        only: ``failed`` for all that failed and can be helped, or the names of runs.
        force: Also those whose error says that trying again can't help.

    Raises:
        RefusedError: when that is not possible, or can't help.
    """
    if ended.state not in (RequestState.PARTIAL, RequestState.FAILED):
        why = REFUSED.get(ended.state, f"is still {ended.state}; wait for its end, or cancel it")
        raise RefusedError(f"request {ended.request_id} can't be tried again: it {why}")
    named = (only,) if isinstance(only, str) else tuple(dict.fromkeys(only))  # each once
    if not named:
        raise RefusedError(
            f"only names no run; leave it out for all that failed, or name some of {_some(_names(ended))}"
        )
    choice = _failed(ended, force) if only == FAILED else Choice([_by_name(ended, name, force) for name in named], [])
    _check_stages(ended, force)
    _check_policy(ended, choice)
    return choice


def _failed(ended: Ended, force: bool) -> Choice:
    if _is_enough(ended):
        return Choice([], [])
    # Of a policy that was not met in time the others were skipped only because of those that failed.
    again = RUN_MISSING if _is_met(ended) else RUN_MISSING | {RunState.SKIPPED}
    wanted = {ref: run for ref, run in ended.runs.items() if run.state in again}
    return Choice(
        [ref for ref, run in wanted.items() if force or can_help(run.error)],
        [run.name for run in wanted.values() if not force and not can_help(run.error)],
    )


def _by_name(ended: Ended, name: str, force: bool) -> str:
    ref, run = next(((ref, run) for ref, run in ended.runs.items() if run.name == name), (None, None))
    if ref is None or run is None:
        raise RefusedError(f"request {ended.request_id} has no run {name!r}; it has {_some(_names(ended))}")
    if run.state in RUN_ANSWERED:
        raise RefusedError(f"{name} has answered ({run.state}), and what it gave is kept; only what failed runs again")
    if not force and not can_help(run.error):
        raise RefusedError(f"trying {name} again can't help: {_why(run)}. {MENDED}")
    return ref


def can_help(error: ErrorInfo | None) -> bool:
    """Whether trying again may come to another end: what a person must mend stays as it is until then.

    >>> can_help(ErrorInfo(type="PermanentError", kind="config", message="no key", retryable=False))
    False
    """
    return error is None or error.retryable or error.kind != "config"


def _check_stages(ended: Ended, force: bool) -> None:
    if ended.state is RequestState.FAILED and not force and not can_help(ended.error):
        error = ended.error
        said = f"{error.type}: {error.message}" if error else "it failed"
        raise RefusedError(f"trying {ended.request_id} again can't help: {said}. {MENDED}")


def _check_policy(ended: Ended, choice: Choice) -> None:
    only_stages = not choice.refs and ended.state is RequestState.FAILED and _is_met(ended)
    if not only_stages and (not choice.refs or _is_enough(ended)):
        raise RefusedError(f"request {ended.request_id} can't be tried again: {_why_none(ended, choice)}")
    lacking = [run.name for ref, run in _required(ended).items() if ref not in choice.refs]
    if ended.policy.is_impossible(
        answered=_answered(ended), still_open=len(choice.refs), required_missing=len(lacking)
    ):
        said = f"{_some(lacking)} is required" if lacking else f"min_ok asks for {ended.policy.min_ok}"
        left = f", and trying again can't help {_some(choice.left)}" if choice.left else ""
        raise RefusedError(f"request {ended.request_id} would fail again: {said}{left}")


def _why_none(ended: Ended, choice: Choice) -> str:
    if choice.left:
        reasons = [f"{run.name}: {_why(run)}" for run in ended.runs.values() if run.name in choice.left]
        return f"that can't help {_some(reasons, '; ')}. {MENDED}"
    return f"first={ended.policy.first} have answered, and no more were asked for"


def _why(run: RecordView) -> str:
    return f"{run.error.type}: {run.error.message}" if run.error else run.state


def _some(words: Sequence[str], between: str = ", ") -> str:
    more = f" and {len(words) - NAMED_AT_ONCE} more" if len(words) > NAMED_AT_ONCE else ""
    return between.join(words[:NAMED_AT_ONCE]) + more


def _names(ended: Ended) -> list[str]:
    return [run.name for run in ended.runs.values()]


def _answered(ended: Ended) -> int:
    return sum(run.state in RUN_ANSWERED for run in ended.runs.values())


def _required(ended: Ended) -> dict[str, RecordView]:
    """Those required that have not answered."""
    return {ref: run for ref, run in ended.runs.items() if run.required and run.state not in RUN_ANSWERED}


def _is_met(ended: Ended) -> bool:
    return ended.policy.is_met(answered=_answered(ended), required_open=len(_required(ended)))


def _is_enough(ended: Ended) -> bool:
    """Whether no further answer is wanted."""
    return ended.policy.ends_early(answered=_answered(ended), required_open=len(_required(ended)))
