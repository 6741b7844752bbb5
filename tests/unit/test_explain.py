"""What a question would become, told before it is asked."""

from __future__ import annotations

from celery import Celery

from celery_collectors import Collectors
from celery_collectors.explain import explain
from celery_collectors.model import Policy
from celery_collectors.plan import Plan, make_plan

app = Celery("explained", set_as_current=False)
collectors = Collectors(app)
NAMES = ("quick", "quicker", "slow", "new")

for name in NAMES:

    @collectors.collector(name=name, retries=1, timeout=4)
    def read(topic: str) -> list[str]:
        """Reads a source."""
        return [topic]


@collectors.collector
async def waits(topic: str) -> list[str]:
    """Waits for a source."""
    return [topic]


@collectors.collector
async def waits_too(topic: str) -> list[str]:
    """Likewise."""
    return [topic]


@collectors.cleanup
def tidy(items: list[str]) -> list[str]:
    """Short."""
    return items


@collectors.process
def sum_up(items: list[str]) -> int:
    """Nobody knows how long."""
    return len(list(items))


def known_ms() -> dict[str, float]:
    """Run times, as the ledger would know them."""
    by_name = {"quick": 1.0, "quicker": 0.5, "slow": 900.0}
    return {collectors.registry.collectors[name].task.name: ms for name, ms in by_name.items()} | {tidy.name: 2.0}


def plan() -> Plan:
    """The question's."""
    return make_plan(collectors.registry, "x", policy=Policy(required=("slow",)), settings=collectors.settings)


def test_short_runs_share_a_message_and_so_do_coroutines() -> None:
    found = explain(plan(), known_ms(), collectors.settings, messages="auto")
    assert {run.name: (run.message, run.why) for run in found.runs} == {
        "quick": (1, "short"),
        "quicker": (1, "short"),
        "slow": (2, "long"),
        "new": (3, "unknown"),
        "waits": (4, "async"),
        "waits_too": (4, "async"),
    }
    assert [(stage.ref, stage.in_place) for stage in found.stages] == [("cleanup", True), ("process", False)]
    assert found.messages == 5


def test_each_is_a_message_for_each() -> None:
    found = explain(plan(), known_ms(), collectors.settings, messages="each")
    assert [run.message for run in found.runs] == [1, 2, 3, 4, 5, 6]
    assert not any(stage.in_place for stage in found.stages)
    assert found.messages == 8


def test_it_says_what_will_hold_and_what_is_known() -> None:
    found = explain(plan(), known_ms(), collectors.settings, messages="auto").to_dict()
    assert found["version"] == 1
    assert found["runs"][2] == {
        "name": "slow",
        "timeout_s": 4.0,
        "retries": 1,
        "required": True,
        "known_s": 0.9,
        "message": 2,
        "why": "long",
    }
    assert found["runs"][3]["known_s"] is None
