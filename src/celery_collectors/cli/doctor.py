"""``collectors doctor``: is everything there, and set so that the promises hold?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from celery_collectors.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from celery_collectors.cli.check import Check
    from celery_collectors.cli.wanted import Wanted


@click.command(short_help="Check app, servers, workers and settings.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def doctor(wanted: Wanted, /, *, as_json: bool) -> None:
    """Check that app, servers, workers and settings are as they should be.

    Each finding comes with its remedy. Ends with 0 when nothing failed, 1 when
    something did, 5 when a server can't be reached. With no broker configured
    it looks at the embedded engine, and starts it for that.

    \b
    collectors --app examples.airports doctor
    """
    findings = _examine(wanted)
    _show(findings, as_json)
    sys.exit(int(_code(findings)))


def _examine(wanted: Wanted) -> list[Check]:
    from celery_collectors.cli import checks
    from celery_collectors.cli.place import note_replaced_broker, opened
    from celery_collectors.errors import CollectorsError

    findings = [checks.versions()]
    try:
        with opened(wanted, worker=True) as place:
            note_replaced_broker(place)
            findings += checks.everything(place)
    except CollectorsError as error:
        findings.append(checks.failed_start(error))
    except click.ClickException as error:
        findings.append(checks.no_place(error))
    return findings


def _show(findings: list[Check], as_json: bool) -> None:
    from celery_collectors.cli.output import print_json
    from celery_collectors.cli.tables import print_checks

    rows = [check.to_dict() for check in findings]
    if as_json:
        print_json({"version": 1, "ok": not any(row["state"] == "fail" for row in rows), "checks": rows})
    else:
        print_checks(rows, sys.stdout)


def _code(findings: list[Check]) -> ExitCode:
    failed = [check for check in findings if check.state == "fail"]
    if any(check.unreachable for check in failed):
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED if failed else ExitCode.COMPLETE
