"""Every error this package raises, in one tree.

::

    CollectorsError
    ├── ConfigurationError          something in the project must be mended before this can work
    │   ├── SettingsError           a setting has a value that can't be used
    │   ├── DeclarationError        a collector or stage is declared in a way that can't work
    │   ├── NoLedgerError           no Redis or Valkey is configured to hold the ledger
    │   └── LedgerMismatchError     the ledger was made with settings that differ from ours
    ├── RequestError                this question can't be asked
    │   ├── TopicError              the topic is malformed
    │   ├── NoCollectorError        no collector takes this topic, or none has that name
    │   ├── PolicyError             the policy can't be met by any outcome
    │   ├── IdempotencyError        the key belongs to another question
    │   └── RefusedError            this can't be done with this request, as it is now
    ├── UnavailableError            something outside is away; trying again later can help
    │   ├── LedgerUnavailable       Redis/Valkey does not answer
    │   ├── PayloadsUnavailable     the place where large values lie can't be reached
    │   └── BrokerUnavailable       the broker does not answer
    ├── RequestUnknown              the ledger does not hold this request
    ├── WaitTimeout                 ``wait(timeout)`` gave up; the request goes on
    ├── ChordFailed                 a chord's policy was not met; a celery.exceptions.ChordError, too, so it
    │                               lives beside those that need Celery: ``from celery_collectors import ChordFailed``
    ├── EngineError                 the embedded engine can't be started or used
    ├── GivenUp                     what ``collectors up`` keeps running ends again and again
    ├── PayloadError                a stored value is damaged or gone
    │   └── ReportOnly              a report has lost its way to the items, which its request still has
    └── CollectError                raised by or for a collector's own code
        ├── PermanentError          raise it yourself: trying again can't help
        ├── BadItems                what was returned can't be stored as items
        ├── TooLarge                what was produced is more than a run, a stage or a request may have
        ├── TimedOut                the code ran into its time limit
        └── Stopped                 the code was ended from outside (cancel, superseded)

A message says what was wrong and what to do next; the CLI prints it as it is.
"""

from __future__ import annotations


class CollectorsError(Exception):
    """The root of every error of this package."""


class ConfigurationError(CollectorsError):
    """Something in the project must be mended before this can work."""


class SettingsError(ConfigurationError):
    """A setting has a value that can't be used."""


class DeclarationError(ConfigurationError):
    """A collector or stage is declared in a way that can't work."""


class NoLedgerError(ConfigurationError):
    """No Redis or Valkey is configured to hold the ledger."""


class LedgerMismatchError(ConfigurationError):
    """The ledger was made with settings that differ from ours."""


class RequestError(CollectorsError):
    """This question can't be asked."""


class TopicError(RequestError):
    """The topic is malformed."""


class NoCollectorError(RequestError):
    """No collector takes this topic, or none has that name."""


class PolicyError(RequestError):
    """The policy can't be met by any outcome."""


class IdempotencyError(RequestError):
    """The idempotency key belongs to another question."""


class RefusedError(RequestError):
    """This can't be done with this request, as it is now: what has to be retried must have ended, and not well."""


class UnavailableError(CollectorsError):
    """Something outside is away; trying again later can help."""


class LedgerUnavailable(UnavailableError):
    """Redis/Valkey, which holds the ledger, does not answer."""


class PayloadsUnavailable(UnavailableError):
    """The place where large values lie (files, a bucket, a Redis) can't be reached, or not be written to."""


class BrokerUnavailable(UnavailableError):
    """The broker does not answer."""


class RequestUnknown(CollectorsError):
    """The ledger does not hold this request: never opened, or expired."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"the ledger holds no request {request_id!r}: it was never opened here, or its results have expired"
        )
        self.request_id = request_id


class WaitTimeout(CollectorsError, TimeoutError):
    """``wait(timeout)`` gave up; the request itself goes on."""


class EngineError(CollectorsError):
    """The embedded engine can't be started or used."""


class GivenUp(CollectorsError):
    """What ``collectors up`` keeps running ends again and again: going on would not help."""


class PayloadError(CollectorsError):
    """A stored value is damaged or gone."""


class ReportOnly(PayloadError):
    """A report was copied, or read from JSON, and so does not know any more where its items are."""


class CollectError(CollectorsError):
    """Raised by, or for, a collector's own code."""


class PermanentError(CollectError):
    """Raise it in a collector to say that trying again can't help.

    >>> from celery_collectors.errors import PermanentError
    >>> raise PermanentError("the API key was revoked")
    Traceback (most recent call last):
        ...
    celery_collectors.errors.PermanentError: the API key was revoked
    """


class BadItems(PermanentError):
    """What a collector or stage returned can't be stored as items."""


class TooLarge(PermanentError):
    """What a collector or stage produced is more than it may."""


class TimedOut(CollectError):
    """The code ran into its time limit and was left behind."""


class Stopped(CollectError):
    """The code was ended from outside: its request was cancelled, or another attempt took over."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"stopped: {reason}")
        self.reason = reason
