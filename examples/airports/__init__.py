"""Three public data sets that disagree about airports, asked together.

`collectors --app examples.airports collect airport:JFK` runs it. Here are the declarations only;
what they call is in the modules beside, which know nothing of Celery.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from anyio import to_thread
from celery import Celery

from celery_collectors import Collectors, Report
from examples.airports import answer, records, sources, topics

TOPICS = "airport:*"

app = Celery("airports")
collectors = Collectors(app)


@collectors.topic(TOPICS)
def airport(topic: str) -> str:
    return topics.canonical(topic)


@collectors.collector(topics=TOPICS)
def airportsdata(topic: str) -> list[sources.Item]:
    return sources.airportsdata(topics.iata_code(topic))


@collectors.collector(topics=TOPICS, name="airports-py")
def airports_py(topic: str) -> list[sources.Item]:
    return sources.airports_py(topics.iata_code(topic))


@collectors.collector(topics=TOPICS)
def ourairports(topic: str) -> list[sources.Item]:
    return sources.ourairports(topics.iata_code(topic))


# Async collectors share one event loop; a file is read in a thread, so that the others on the loop go on.
@collectors.collector(topics=TOPICS)
async def runways(topic: str) -> list[sources.Item]:
    return await to_thread.run_sync(sources.runways, topics.iata_code(topic))


@collectors.collector(topics=TOPICS)
async def frequencies(topic: str) -> list[sources.Item]:
    return await to_thread.run_sync(sources.frequencies, topics.iata_code(topic))


@collectors.cleanup
def merge(items: Iterable[sources.Item]) -> Iterator[records.Record]:
    return records.merge(items)


@collectors.process
def summarise(items: Iterable[records.Record], report: Report) -> dict[str, Any]:
    return answer.summarise(items, {name: str(outcome.state) for name, outcome in report.outcomes.items()})
