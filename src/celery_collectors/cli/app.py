"""Finding the user's Celery app, and saying what is wrong when that fails."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery_collectors.cli.complaints import Complaint, where
from celery_collectors.cli.wanted import Wanted

if TYPE_CHECKING:
    from celery_collectors import Collectors
    from celery_collectors.settings import Settings


def app_name(wanted: Wanted, settings: Settings) -> str:
    """Where the app is: as said before the command, in the environment, or in ``pyproject.toml``."""
    name = wanted.app or settings.app
    if not name:
        raise Complaint(
            "no app is given",
            hint="collectors --app package.module …; or COLLECTORS_APP; or app in pyproject.toml's [tool.collectors]",
        )
    if not name.strip("."):
        raise Complaint(f"{name!r} is a folder, and an app is named as for import", hint="give --app package.module")
    if "/" in name:
        raise _is_a_file(name)
    return name


def make_importable(folder: Path) -> None:
    """Let the app be imported from a folder, as ``python -m`` would."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def refuse_what_is_not_there(name: str) -> None:
    """Complain about a module that nothing can import; asked before an engine is started for it.

    Nothing is executed. The last part may be an attribute, and is not looked at unless it is the only one.
    """
    parts = name.partition(":")[0].split(".")
    path: Any = None
    for depth in range(1, max(2, len(parts))):
        module = ".".join(parts[:depth])
        spec = next((s for finder in sys.meta_path if (s := finder.find_spec(module, path))), None)
        if spec is None:
            raise _no_module(name, module)
        path = spec.submodule_search_locations


@contextmanager
def _without_gc() -> Iterator[None]:
    """Python's garbage collector takes a seventh of the time of imports, in which it finds nothing.

    What they made stays, and is not looked at later either: at Python's end that takes a tenth of a second.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


@_without_gc()
def load(wanted: Wanted, name: str) -> Collectors:
    """Import the app and its task modules, as a worker would, and return its ``Collectors``.

    Whatever a module prints goes to stderr.

    Raises:
        Complaint: when there is no such module or app, or the module itself fails.
        DeclarationError: when the app has no ``Collectors``.
    """
    from celery_collectors.collectors import Collectors
    from celery_collectors.errors import CollectorsError

    try:
        with redirect_stdout(sys.stderr):
            found = _find(name) if wanted.celery_app is None else wanted.celery_app
            found.loader.import_default_modules()
    except CollectorsError as error:
        raise Complaint(f"{where(error)}: {error}") from error
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error
    return Collectors.of(found)


def _find(name: str) -> Any:
    from celery import Celery
    from celery.app.utils import find_app

    try:
        found = find_app(name)
    except ModuleNotFoundError as error:
        if error.name == name and ":" in name:
            raise _no_app(name) from error
        if error.name and f"{name.replace(':', '.')}.".startswith(f"{error.name}."):
            raise _no_module(name, error.name) from error
        raise
    except AttributeError as error:
        if _is_find_apps_own(error):
            raise _no_app(name) from error
        raise
    if not isinstance(found, Celery):
        raise _no_app(name)
    return found


def _is_find_apps_own(error: AttributeError) -> bool:
    """Raised because the module lacks an app, not by code inside of the module."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    module = traceback.tb_frame.f_globals.get("__name__", "") if traceback is not None else ""
    return module.startswith(("celery.", "kombu."))


def _no_module(name: str, module: str) -> Complaint:
    if name.endswith(".py"):
        return _is_a_file(name)
    return Complaint(
        f"there is no module {module!r} for the app {name!r}",
        hint=f"it is looked for in {Path.cwd()} and in what is installed; change folder, or mend --app",
    )


def _is_a_file(name: str) -> Complaint:
    path = Path(os.path.abspath(name.removesuffix(".py")))  # noqa: PTH100 - resolve() would follow links
    is_here = path.is_relative_to(Path.cwd())
    like = ".".join(path.relative_to(Path.cwd()).parts) if is_here else path.name
    there = "" if is_here else f"cd {shlex.quote(str(path.parent))}, and "
    return Complaint(f"{name!r} is a file, and an app is named as for import", hint=f"{there}give --app {like}")


def _no_app(name: str) -> Complaint:
    return Complaint(
        f"there is no Celery app in {name!r}",
        hint="name it: --app package.module:attribute, where attribute = Celery(…)",
    )


def _broken(name: str, error: BaseException) -> BaseException:
    if isinstance(error, Complaint):
        return error
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return Complaint(
        f"the app {name!r} can't be imported: {type(error).__name__}: {said} ({where(error)})",
        hint="mend that; --debug before the command shows the traceback",
    )
