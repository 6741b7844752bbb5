"""What a schema can't say: a key belongs to one question, so no two share one; a topic has no unprintable letters."""

from __future__ import annotations

import uuid
from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give each question a key of its own and a topic that can be printed; what is wrong otherwise stays wrong."""
    sent = (case.headers or {}).get("Idempotency-Key")
    if isinstance(sent, str) and 0 < len(sent) <= 200 and all("!" <= letter <= "~" for letter in sent):
        case.headers["Idempotency-Key"] = f"{sent}{uuid.uuid4().hex}"
    if isinstance(case.body, dict) and isinstance(topic := case.body.get("topic"), str):
        printed = "".join(letter if letter.isprintable() and letter != " " else "." for letter in topic)
        case.body = {**case.body, "topic": printed}
