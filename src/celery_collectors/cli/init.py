"""``collectors init``: a new project that runs at once."""

from __future__ import annotations

import keyword
import os
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from string import Template

import click

from celery_collectors.cli.complaints import Complaint
from celery_collectors.cli.exit_codes import ExitCode

# What is written, and as what; in each, $module is the module's name and $name the project's.
FILES = {"pyproject.toml": "pyproject.toml", "collectors.py": "$module.py", "test_collectors.py": "test_$module.py"}
_TEMPLATES = Path(__file__).with_name("project")


@click.command(short_help="Make a new project that runs at once.")
@click.argument("name")
def init(name: str) -> None:
    """Make the folder NAME with two collectors, a process stage and a test.

    Nothing that is there already is overwritten. Its collectors ask what is
    on this machine, so that it runs without a network.

    \b
    collectors init news && cd news
    collectors collect python
    """
    folder = Path(name)
    module = _module_name(_name_of(folder) if name else "")
    try:
        written = _write(folder, module)
    except OSError as error:
        raise Complaint(
            f"{str(folder)!r} can't be made: {error.strerror or error}", hint="give another name", code=ExitCode.FAILED
        ) from error
    for path in written:
        click.echo(f"made {path}", err=True)
    there = "" if folder == Path() else f"  cd {shlex.quote(name)}\n"
    click.echo(f"\nnext:\n{there}  collectors collect python\n  collectors up", err=True)


def _name_of(folder: Path) -> str:
    """Its own, also where it is said as ``.``."""
    return Path(os.path.abspath(folder)).name  # noqa: PTH100 - resolve() would follow links


def _module_name(name: str) -> str:
    """The project's module: a name that Python can import, and that is nobody else's.

    Raises:
        Complaint: when there is none.
    """
    module = re.sub(r"[-. ]", "_", name)
    if not module.strip("_") or not module.isidentifier() or not module.isascii() or keyword.iskeyword(module):
        raise Complaint(f"{name!r} can't be a module's name", hint="letters, digits and _, like news or my_news")
    if module in sys.stdlib_module_names or _is_installed(module):
        raise Complaint(f"there is a module {module!r} already, which yours would hide", hint="give another name")
    return module


def _is_installed(module: str) -> bool:
    """Somewhere else than in the current folder."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None and not Path(spec.origin).is_relative_to(Path.cwd())


def _write(folder: Path, module: str) -> list[Path]:
    texts = {
        folder / Template(target).substitute(module=module): _text(source, module, _name_of(folder))
        for source, target in FILES.items()
    }
    if there := [path for path in texts if path.exists() or path.is_symlink()]:
        raise Complaint(f"{there[0]} is there already", hint="nothing was written; give another name")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return list(texts)


def _text(source: str, module: str, name: str) -> str:
    template = Template(_TEMPLATES.joinpath(source + ".txt").read_text(encoding="utf-8"))
    return template.substitute(module=module, name=re.sub(r"[^A-Za-z0-9._-]", "-", name))
