"""Builds the wheel: beside the library it carries what an installation without a clone works with.

Everything else stands in pyproject.toml. Nothing is kept twice: what is carried is taken from `notebooks/`, `params/`
and `reports/` when a wheel is built, and `reports/models.json` says which models.
"""

import json
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CLONE = Path(__file__).resolve().parent
RECORD = ("LICENCE.txt", "bundle.json", "model_card.md", "split.csv.xz")
"""Of a carried model's record, with the model itself: without the table of its split nobody counts its speakers."""


def carried() -> list[str]:
    """Paths in the clone: notebooks, parameter files, the list of models, the default, what a fallback joins to it."""
    listed = Path("reports/models.json")
    models = json.loads((CLONE / listed).read_text(encoding="utf-8"))["models"]
    joined = [one for one in models if models[0]["run"] in (one["run"], one.get("fallback"))]
    paths = [path for pattern in ("notebooks/*.ipynb", "params/*.yaml") for path in CLONE.glob(pattern)]
    for run in {run for one in joined for run in (one["run"], one.get("fallback")) if run}:
        record = CLONE / "reports" / run
        model = json.loads((record / "bundle.json").read_text(encoding="utf-8"))["onnx"]
        paths += [record / name for name in (*RECORD, model) if name == model or (record / name).is_file()]
    return [listed.as_posix(), *sorted(path.relative_to(CLONE).as_posix() for path in paths)]


class BuildWithProject(build_py):
    """Puts what is carried into the package; an editable installation has the clone itself."""

    def run(self) -> None:
        """Build the library, then copy."""
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib) / "ser_lib" / "_shipped"
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier build, which may have carried another model
        for path in carried():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CLONE / path, folder / path)

    def get_source_files(self) -> list[str]:
        """Sources, which a source distribution holds, too."""
        return [*super().get_source_files(), *carried()]


setup(cmdclass={"build_py": BuildWithProject})
