"""The command `ser new`."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from ser_lib.core.text import printable


def new(
    folder: Annotated[Path, typer.Argument(help="Folder to make, or one that is empty.")],
) -> None:
    """Make a project of your own: notebooks, parameter files, a Makefile and a README."""
    from ser_lib.records.project import make_project

    make_project(folder)
    name = printable(str(folder))
    print(f"{name} is a project. To see it work: cd {shlex.quote(name)} && make all{_which_ser()}")


def _which_ser() -> str:
    """How to name the command to `make` where the shell does not find this one; empty where it does."""
    here = Path(sys.argv[0]).absolute()
    found = shutil.which("ser")
    is_found = found is not None and Path(found).exists() and Path(found).samefile(here)
    return "" if is_found or here.name != "ser" else f" SER={shlex.quote(str(here))}"
