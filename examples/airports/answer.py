"""The answer to the question: what is known of the airport, who said so, and where they disagree."""

from collections.abc import Iterable, Mapping
from typing import Any

from examples.airports.compare import MEASURES, disagreement, judge, plain
from examples.airports.distances import Position
from examples.airports.records import Record

_COORDINATES = ("latitude_deg", "longitude_deg")


def summarise(records: Iterable[Record], states: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer, small and JSON-able: the airports, who had something to say, and it all in one sentence.

    The sentence comes last: that is what a terminal still shows of a long answer.

    "Nobody has it" is said only of the sources that answered; those that didn't are named with what became of
    them.

    Args:
        records: merged records, one per IATA code; none when no source knows the code.
        states: how each subcollector's run ended, by its name: "ok", "empty", "failed", …

    >>> summarise([], {"a": "empty", "b": "failed"})["says"]
    'nobody has it: asked 2, 1 answered; no answer: b (failed)'
    """
    airports = [airport(record) for record in records]
    sources = {
        "had_it": [name for name, state in states.items() if state == "ok"],
        "had_nothing": [name for name, state in states.items() if state == "empty"],
        "no_answer": {name: state for name, state in states.items() if state not in ("ok", "empty")},
    }
    return {"airports": airports, "sources": sources, "says": _sentence(airports, sources)}


def airport(record: Record) -> dict[str, Any]:
    """Return what is known of one airport.

    `record` holds the agreed value of every field, None where the sources are undecided; `single_source`
    names the fields that only one source fills and nobody confirms; `disagreements` has every field whose
    sources differ at all, however little.

    Args:
        record: a merged record.
    """
    said = _comparable(record["fields"])
    verdicts = {field: judge(by_source, MEASURES[field]) for field, by_source in said.items()}
    differences = {
        field: disagreement(said[field], verdict, MEASURES[field].unit) for field, verdict in verdicts.items()
    }
    return {
        "iata": record["iata"],
        "had_by": record["sources"],
        "record": _agreed({field: verdict.agreed for field, verdict in verdicts.items()}),
        "single_source": [field for field, by_source in said.items() if len(by_source) == 1],
        "disagreements": {field: found for field, found in differences.items() if found},
        "runways": record["runways"],
        "frequencies": record["frequencies"],
    }


def _comparable(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The fields with latitude and longitude as one: half a position can't be agreed on."""
    latitudes, longitudes = (fields.get(name, {}) for name in _COORDINATES)
    positions = {
        source: Position(latitudes[source], longitudes[source]) for source in latitudes if source in longitudes
    }
    comparable = {**fields, "position": positions} if positions else fields
    return {field: dict(comparable[field]) for field in MEASURES if field in comparable}


def _agreed(values: dict[str, Any]) -> dict[str, Any]:
    if "position" not in values:
        return values
    position = values.pop("position")
    return values | (plain(position) if position else dict.fromkeys(_COORDINATES))


def _sentence(airports: list[dict[str, Any]], sources: dict[str, Any]) -> str:
    found = ". ".join(_about(airport) for airport in airports) or _about_nobody(sources)
    missing = ", ".join(f"{name} ({state})" for name, state in sources["no_answer"].items())
    return f"{found}; no answer: {missing}" if missing else found


def _about_nobody(sources: dict[str, Any]) -> str:
    answered = len(sources["had_it"]) + len(sources["had_nothing"])
    asked = answered + len(sources["no_answer"])
    return f"nobody has it: asked {asked}, {answered} answered" if answered else "nobody answered"


def _about(airport: dict[str, Any]) -> str:
    had_by = ", ".join(airport["had_by"])
    found = f"{airport['iata']} is in {had_by}" if had_by else f"{airport['iata']} itself is in no source"
    differing = airport["disagreements"].items()
    wrong = [_off(field, source, how) for field, how in differing for source in how["outliers"]]
    undecided = [f"undecided on {field}" for field, how in differing if how["undecided"]]
    alone = ["nobody else confirms what it says"] if len(airport["had_by"]) == 1 else []
    return "; ".join([found, *alone, *wrong, *undecided])


def _off(field: str, source: str, found: dict[str, Any]) -> str:
    unit = MEASURES[field].unit
    return f"{source} is {found[f'off_by_{unit}'][source]} {unit} off on {field}"
