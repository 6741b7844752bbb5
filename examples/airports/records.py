"""One record per airport, in which every field keeps which source said what."""

from collections.abc import Iterable, Iterator
from typing import Any

Record = dict[str, Any]

_LISTS = {"runway": "runways", "frequency": "frequencies"}
_LABELS = ("source", "kind", "iata")


def merge(items: Iterable[dict[str, Any]]) -> Iterator[Record]:
    """Yield one merged record per IATA code, in the order of the codes, whatever order the items came in.

    A record is `{"iata", "sources", "fields": {field: {source: value}}, "runways": [], "frequencies": []}`,
    where `sources` are those that have the airport itself.

    Args:
        items: what the subcollectors returned, of any number of airports.

    >>> item = {"source": "a", "kind": "airport", "iata": "JFK", "elevation_ft": 13}
    >>> [record["fields"] for record in merge([item, {**item, "source": "b"}])]
    [{'elevation_ft': {'a': 13, 'b': 13}}]
    """
    records: dict[str, Record] = {}
    for item in items:
        iata = item["iata"]
        _add(item, to=records.setdefault(iata, _blank(iata)))
    return (_complete(records[iata]) for iata in sorted(records))


def _blank(iata: str) -> Record:
    return {"iata": iata, "sources": [], "fields": {}, "runways": [], "frequencies": []}


def _add(item: dict[str, Any], *, to: Record) -> None:
    said = {name: value for name, value in item.items() if name not in _LABELS}
    if item["kind"] in _LISTS:
        to[_LISTS[item["kind"]]].append({"source": item["source"], **said})
        return
    to["sources"].append(item["source"])
    for field, value in said.items():
        to["fields"].setdefault(field, {})[item["source"]] = value


def _complete(record: Record) -> Record:
    """The record, sorted, with its longest open runway as one more field, so that it can be compared."""
    for runway in record["runways"]:
        if "length_ft" in runway and not runway["closed"]:
            longest_ft = record["fields"].setdefault("longest_runway_ft", {})
            longest_ft[runway["source"]] = max(runway["length_ft"], longest_ft.get(runway["source"], 0))
    fields = {field: dict(sorted(said.items())) for field, said in sorted(record["fields"].items())}
    return {**record, "sources": sorted(record["sources"]), "fields": fields}
