import ast
import hashlib
import importlib
import json
import lzma
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import yaml

from ser_lib.core import colab
from ser_lib.core.io import file_hash
from ser_lib.corpora import get_corpus
from ser_lib.params import Params
from ser_lib.records import run as runs
from ser_lib.records.documents import DOCUMENTS, fill
from ser_lib.records.manifest import read_manifest
from ser_lib.records.record import complete

REPO = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((REPO / "notebooks").glob("*.ipynb"))
MODULES = sorted((REPO / "ser_lib").rglob("*.py"))
STAGES = {"preprocess", "split", "train", "evaluate", "predict"}
STUDIES = {
    f"{model}_protocol": [
        f"{model}_{row}_s{seed}" for row in ("random", "text", "oaf_yaf", "yaf_oaf") for seed in range(3)
    ]
    for model in ("tess", "tess_robust")
}
STUDIES |= {
    f"{model}_protocol": [f"{model}_{row}_s0" for row in ("random", "text", *(f"fold{fold}" for fold in range(5)))]
    for model in ("emodb", "emodb_robust")
}
STUDIES |= {f"{name}_study": [f"{name}_s{seed}" for seed in range(3)] for name in ("tess_to_emodb", "emodb_to_tess")}
STUDIES |= {f"{name}_study": [f"{name}_s0"] for name in ("tess_to_emodb_robust", "emodb_to_tess_robust")}
STUDIES |= {
    "voices_protocol": [
        f"voices_{row}_s{seed}"
        for row in ("random", *(f"to-{corpus}" for corpus in ("tess", "ravdess", "emodb", "savee", "ased", "turev")))
        for seed in range(3)
    ]
    + [f"voices_fold{fold}_s{seed}" for fold in range(5) for seed in range(3)],
}
STUDIES |= {
    f"{model}_protocol": [
        f"{model}_{row}_s0"
        for row in (
            "random",
            *(f"to-{corpus}" for corpus in ("tess", "ravdess", "emodb", "savee", "ased", "turev")),
            *(f"fold{fold}" for fold in range(5)),
        )
    ]
    for model in ("voices_functionals", "voices_both")
}
STUDIES |= {f"voices_{way}_study": [f"voices_{way}_s0"] for way in ("oaf_yaf", "yaf_oaf")}
STUDIES |= {f"tess_encoder_{way}_study": [f"tess_encoder_{way}_s0"] for way in ("oaf_yaf", "yaf_oaf")}
STUDIES |= {f"whisper_{way}_study": [f"whisper_{way}_s{seed}" for seed in range(2)] for way in ("oaf_yaf", "yaf_oaf")}
STUDIES |= {
    f"{model}_to-{name}_study": [f"{model}_to-{name}_s0"]
    for model in ("voices_cnn", "voices_bilstm")
    for name in ("tess", "ravdess", "emodb", "savee")
}
STUDIES |= {
    f"{name}_study": [f"{name}_f{fold}" for fold in range(n_folds)]
    for name, n_folds in (
        ("emodb_whisper", 10),
        ("emodb7_whisper", 10),
        ("ravdess_whisper", 5),
        ("ravdess_smart", 5),
        ("emodb_functionals", 10),
        ("ravdess_cnn", 5),
    )
}
RECORDS = [REPO / "reports" / name for name in ("demo", *(run for runs_ in STUDIES.values() for run in runs_))]
JOINED = {"voices_both_random_s0", "voices_functionals_random_s0"}
NAMED = {"demo", "tess_random_s0", "tess_robust_random_s0", "voices_random_s0"} | JOINED

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPO / "ser_lib")))
each_record = pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)


def project_table():
    return tomllib.loads((REPO / "pyproject.toml").read_text())["project"]


def dependencies(*, development=False):
    table = project_table()
    extras = table["optional-dependencies"]
    wanted = table["dependencies"] + extras["train"] + extras["notebooks"]
    wanted += extras["dev"] + extras["cluster"] if development else []
    return [re.match(r"[A-Za-z0-9._-]+", line).group() for line in wanted]


def pip_name(name):
    return re.sub(r"[-_.]+", "-", name).lower()


# Notebooks


def code_cells(path):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def test_there_are_six_notebooks():
    assert [path.stem for path in NOTEBOOKS] == [
        "00_tour", "01_preprocess", "02_split", "03_train", "04_evaluate", "05_predict",
    ]  # fmt: skip
    assert [path.stem for path in NOTEBOOKS[1:]] == list(runs.STAGES)


@each_notebook
def test_notebook_is_valid(path):
    nbformat.validate(nbformat.read(path, 4))


@each_notebook
def test_notebook_opens_with_title_purpose_and_files(path):
    first = nbformat.read(path, 4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert all(word in first.source for word in ("**Purpose.**", "**Reads**", "**Writes**"))


@each_notebook
def test_second_cell_is_the_colab_cell(path):
    cell = nbformat.read(path, 4).cells[1]
    assert cell.metadata["tags"] == [colab.TAG]
    address = re.search(r'or "(.*)" or', cell.source)[1]  # of the clone in which they were made
    assert cell.source == colab.first_cell(address)


@each_notebook
def test_notebook_has_one_parameters_cell_with_help(path):
    tagged = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert all(re.fullmatch(r"[A-Z0-9_]+(: \S+)? = .+  # .+", line) for line in tagged[0].source.splitlines())


@each_notebook
def test_cells_of_colab_and_of_parameters_are_collapsed(path):
    for cell in code_cells(path):
        collapsed = {"cellView", "jupyter"} <= cell.metadata.keys()
        assert collapsed is bool({colab.TAG, "parameters"} & set(cell.metadata.get("tags", [])))
        if collapsed:  # by Colab, and by JupyterLab
            assert cell.metadata["cellView"] == "form" and cell.metadata["jupyter"]["source_hidden"] is True


@pytest.mark.parametrize("path", NOTEBOOKS[:5], ids=lambda path: path.stem)
def test_notebook_ends_with_something_to_try_and_what_to_expect(path):
    last = nbformat.read(path, 4).cells[-1].source
    tried = last.partition("## Try this\n")[2]
    assert "**Expect**" in tried and re.search(r"\d", tried)


@each_notebook
def test_code_cells_are_short_and_clean(path):
    for cell in code_cells(path):
        # the parameters are a table, a line for each, which is as long as there are parameters
        assert len(cell.source.splitlines()) <= 20 or "parameters" in cell.metadata.get("tags", [])
        assert cell.outputs == []
        assert cell.execution_count is None


@each_notebook
def test_notebook_defines_no_class_and_no_function(path):
    for cell in code_cells(path):
        kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
        assert not kinds & {ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda}


@each_notebook
def test_results_are_read_in_words(path):
    cells = nbformat.read(path, 4).cells
    assert cells[-1].cell_type == "markdown"
    kinds = "".join("c" if cell.cell_type == "code" else "m" for cell in cells)
    assert "cccc" not in kinds


def imported(tree):
    """What a notebook imports: the module, the name taken from it or None, and what it is called there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name, alias.asname or alias.name) for alias in node.names)


def unresolved(source):
    """Imports, and names taken from modules of ser_lib, that the library does not have."""
    tree, missing, known = ast.parse(source), [], {}
    for module, name, called in imported(tree):
        try:
            found = importlib.import_module(module)
            if name is not None:
                found = getattr(found, name) if hasattr(found, name) else importlib.import_module(f"{module}.{name}")
        except ImportError:
            missing.append(f"{module}.{name}" if name else module)
        else:
            known[called] = found
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = known.get(node.value.id)
            of_ours = isinstance(owner, ModuleType) and owner.__name__.startswith("ser_lib")
            if of_ours and not hasattr(owner, node.attr):
                missing.append(f"{owner.__name__}.{node.attr}")
    return missing


@each_notebook
def test_every_name_that_a_notebook_takes_from_the_library_is_there(path):
    assert unresolved("\n".join(cell.source for cell in code_cells(path))) == []


@pytest.mark.parametrize("path", sorted((REPO / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_every_name_that_a_benchmark_takes_from_the_library_is_there(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)  # some take from one another
    assert unresolved(path.read_text()) == []


def test_names_that_are_not_there_are_found():
    source = "from ser_lib import plots, nothing\nfrom ser_lib.predict import example_file\nimport ser_lib.none\n"
    missing = ["ser_lib.nothing", "ser_lib.predict.example_file", "ser_lib.none", "ser_lib.plots.no_plot"]
    assert unresolved(source + "plots.no_plot(1)\nplots.plot_history({})\n") == missing


# The container


def test_container_sets_up_and_runs_the_two_commands():
    lines = (REPO / "Dockerfile").read_text().splitlines()
    assert lines[-1] == 'CMD ["make", "all"]' and any(line.startswith("RUN make setup") for line in lines)
    stages = [line.split()[-1] for line in lines if line.startswith("FROM ")]
    settings = json.loads((REPO / ".devcontainer" / "devcontainer.json").read_text())
    file = (REPO / ".devcontainer" / settings["build"]["dockerfile"]).resolve()
    assert file == REPO / "Dockerfile" and settings["build"]["target"] in stages
    assert settings["postCreateCommand"] == "make setup"
    assert f"useradd --create-home {settings['remoteUser']}" in "\n".join(lines)


# The library


def test_stages_are_there():
    assert {path.stem for path in MODULES} >= STAGES


@each_module
def test_module_is_below_400_lines(path):
    assert len(path.read_text().splitlines()) < 400


def public(body):
    return [
        node
        for node in body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]


@each_module
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    for node in public(tree.body):
        assert ast.get_docstring(node), node.name
        for method in public(node.body) if isinstance(node, ast.ClassDef) else []:
            assert ast.get_docstring(method), f"{node.name}.{method.name}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("ser_lib", ["tensorflow", "keras", "librosa", "pandas"]),
        ("ser_lib.preprocess", ["tensorflow", "keras", "dask", "distributed"]),
        ("ser_lib.split", ["tensorflow", "keras", "librosa"]),
        ("ser_lib.predict, ser_lib.audio.encoders", ["tensorflow", "keras", "librosa", "scipy", "numba", "pandas"]),
        ("ser_lib._cli.app", ["tensorflow", "keras", "papermill", "dask", "distributed"]),
        ("ser_lib.core.colab", ["rfc3987_syntax"]),
        ("ser_lib.records.run", ["tensorflow", "keras", "rfc3987_syntax"]),
        ("ser_lib.records.site", ["tensorflow", "keras", "rfc3987_syntax"]),
    ],
)
def test_slow_libraries_are_not_loaded_early(module, absent):
    code = f"import {module}, sys; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_what_was_kept_from_nbformat_can_still_be_imported():
    code = "from ser_lib.core import colab; import rfc3987_syntax; print(rfc3987_syntax.is_valid_syntax('iri', 'a:b'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_public_functions_of_the_mission_are_there():
    code = (
        "import ser_lib\nfor name in ['preprocess_data', 'process_audio_file', 'plot_history', 'evaluate_model', "
        "'predict_emotion_from_file']:\n    assert callable(getattr(ser_lib, name)) and name in ser_lib.__all__"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Set-up


def locked():
    """Package of the lock → its requirement with all that belongs to it."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (REPO / "requirements.lock").read_text())
    return {re.match(r"[A-Za-z0-9._-]+", block).group(): block for block in blocks if not block.startswith("#")}


def test_lock_holds_every_dependency():
    assert {pip_name(name) for name in dependencies(development=True)} <= set(locked())


def test_lock_pins_everything_with_hashes():
    for name, block in locked().items():
        assert re.match(rf"{re.escape(name)}(\[[a-z,]+\])?==[0-9][^ ]*( ; .+)? \\\n", block), name
        assert "--hash=sha256:" in block, name


def test_lock_names_no_host():
    text = (REPO / "requirements.lock").read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host| @ ", text)


def test_conda_environment_says_the_same():
    environment = yaml.safe_load((REPO / "environment.yml").read_text())
    *packages, from_pip = environment["dependencies"]
    assert f"python{project_table()['requires-python']}" in packages
    assert "pip" in packages
    assert from_pip["pip"] == ["--require-hashes", "-r requirements.lock"]
    assert environment["name"] == project_table()["name"]


def test_every_dependency_is_explained():
    text = (REPO / "docs" / "dependencies.md").read_text()
    first_columns = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    explained = {pip_name(name.strip(" `")) for column in first_columns for name in column.split(",")}
    assert {pip_name(name) for name in dependencies(development=True)} <= explained


def test_every_import_is_a_dependency():
    names = {"sklearn": "scikit-learn", "yaml": "pyyaml", "IPython": "jupyter", "nbformat": "jupyter"}
    names |= dict.fromkeys(["jupyter_client", "nbclient", "nbconvert", "traitlets"], "jupyter")  # these come with it
    names |= {"markupsafe": "jinja2", "PIL": "pillow", "pydantic_core": "pydantic"}
    imported = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    imported -= set(sys.stdlib_module_names) | {"ser_lib", "google", "starlette"}  # Colab's google.colab; gradio's
    extras = project_table()["optional-dependencies"]
    wanted = [line for extra in ("mic", "cluster", "parquet", "sweep", "demo") for line in extras[extra]]
    imported -= {line.split(">=")[0] for line in wanted}
    missing = {pip_name(names.get(name, name)) for name in imported} - {pip_name(name) for name in dependencies()}
    assert not missing


def test_make_help_names_the_targets():
    done = subprocess.run(["make", "help"], cwd=REPO, capture_output=True, text=True)
    shown = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")]
    assert {"setup", "all", "test", "test-all", "check", "lab", "lock", "clean"} <= set(shown)


@pytest.mark.parametrize("name", ["LICENSE", "CITATION.cff", "README.md"])
def test_top_level_files(name):
    assert (REPO / name).is_file()
    if name == "LICENSE":
        assert "MIT License" in (REPO / name).read_text()
    if name == "CITATION.cff":
        assert yaml.safe_load((REPO / name).read_text())["version"] == project_table()["version"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_of_the_documents_are_those_of_the_records_and_the_parameters(name):
    text = (REPO / name).read_text()
    assert "<!-- end -->" in text
    assert fill(text) == text  # if not: ser report


def test_readme_is_short():
    assert len((REPO / "README.md").read_text().splitlines()) <= 160


@pytest.mark.parametrize("path", [*REPO.glob("*.md"), *(REPO / "docs").glob("*.md")], ids=lambda path: path.name)
def test_what_a_document_names_is_there(path):
    """Links to files, and modules in backticks, which may be shortened to the end of their path."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []
    folders = [REPO / folder for folder in ("ser_lib", "tests", "benchmarks")]
    modules = [*REPO.glob("*.py"), *(module for folder in folders for module in folder.rglob("*.py"))]
    files = [f"/{module.relative_to(REPO)}" for module in modules]
    named = set(re.findall(r"`([\w/]+\.py)`", text)) - {"ser_lib/corpora/studio.py"}  # an example, written out there
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in files)] == []
    missing = [
        f"{stem}.{name}"
        for stem, name in re.findall(r"`([a-z_]+)\.(\w+)`", text)
        if (texts := [path.read_text() for path in modules if path.stem == stem])
        and name not in ("csv", "json", "md", "npy", "npz", "py", "yaml")
        and not any(re.search(rf"\b{name}\b", text) for text in texts)
    ]
    assert missing == []


# The records that are part of the repository


def record_files(record):
    if not record.is_dir():
        pytest.skip(f"no record: {record.relative_to(REPO)} is missing")
    built = {".html"}  # pages of the site, which git ignores
    return [path for path in sorted(record.rglob("*")) if path.is_file() and path.suffix not in built]


def text_of(path):
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes()).decode()
    return path.read_text(encoding="latin-1" if path.suffix == ".onnx" else "utf-8")


@each_record
def test_record_is_complete(record):
    names = {path.name for path in record_files(record)}
    notebooks = {f"{stage}.ipynb" for stage in runs.STAGES}
    manifest = read_manifest(record)
    removable = notebooks | {"model.onnx", "bundle.json", "LICENCE.txt", "model_card.md"}
    assert removable == (names & removable) | set(manifest.left_out)
    assert {"params.yaml", "manifest.json", "metrics.json", "leakage.json", "skipped.csv.xz"} <= names
    assert {"split.csv.xz", "test_predictions.csv.xz", "history.json.xz"} <= names
    assert {"model.onnx", "test_predictions.csv"} <= manifest.artifacts.keys()  # so that a repetition can be checked
    assert set(yaml.safe_load((record / "params.yaml").read_text())) <= set(Params.model_fields)
    assert (manifest.state, list(manifest.stages)) == ("done", list(runs.STAGES))
    assert manifest.environment.commit and manifest.environment.dirty is False
    for path in record_files(record):  # what was recorded is what was made
        expected = manifest.artifacts.get(path.name.removesuffix(".xz"))
        packed = path.suffix == ".xz" and hashlib.sha256(lzma.decompress(path.read_bytes())).hexdigest()
        assert expected in (None, packed or file_hash(path)), path.name


def test_records_are_light():
    assert sum(path.stat().st_size for record in RECORDS for path in record_files(record)) < 15_000_000
    held = {record.name: {path.suffix for path in record_files(record)} for record in RECORDS}
    assert {name for name, kinds in held.items() if ".onnx" in kinds} == NAMED
    assert {name for name, kinds in held.items() if ".ipynb" in kinds} == NAMED - JOINED


def rows_of(study):
    return json.loads((REPO / "reports" / study / "study.json").read_text())["rows"]


@each_record
def test_record_is_small_and_has_no_audio(record):
    assert sum(path.stat().st_size for path in record_files(record)) < 2_000_000
    for path in record_files(record):
        assert path.suffix in {".ipynb", ".yaml", ".json", ".csv", ".xz", ".md", ".onnx", ".txt"}
        assert not re.search(r"audio/|<audio|data:audio|vnd\.jupyter\.widget", text_of(path))


@pytest.mark.parametrize("name", sorted(NAMED))
def test_licence_of_the_recordings_lies_beside_the_model(name):
    record = REPO / "reports" / name
    licence = (record / "LICENCE.txt").read_text()
    for corpus_name in complete(yaml.safe_load((record / "params.yaml").read_text()))["CORPORA"]:
        corpus = get_corpus(corpus_name)
        assert f"Licence: {corpus.LICENCE}\nSource: {corpus.CITATION}\n" in licence


@each_record
def test_record_shows_no_path_of_a_machine(record):
    for path in record_files(record):
        pictures = re.compile(r"[A-Za-z0-9+/=]{200,}")  # base64 may hold anything
        text = pictures.sub("", text_of(path))
        found = re.search(r"(?<![\w.<~*])/(home|root|work|tmp|usr|var|opt|mnt|Users|content)\b.{0,40}", text)
        assert not found, f"{path.name}: {found.group()}"


@each_record
def test_recorded_notebooks_ran_from_top_to_bottom(record):
    for path in [path for path in record_files(record) if path.suffix == ".ipynb"]:
        counts = [cell.execution_count for cell in code_cells(path)]
        assert counts == list(range(1, len(counts) + 1))
        kinds = {output.output_type for cell in code_cells(path) for output in cell.outputs}
        assert "error" not in kinds


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("name", STUDIES)
def test_results_show_the_figures_of_the_records(name):
    folder = REPO / "reports" / name
    rows = json.loads((folder / "study.json").read_text())["rows"]
    assert [run for runs_ in rows.values() for run in runs_] == STUDIES[name]
    table = [cells_of(line) for line in (folder / "table.md").read_text().splitlines() if line.startswith("|")]
    assert len(table) == 2 + 4 * len(rows)  # the network and three simple models in each row
    shown = [cells_of(line) for line in (REPO / "docs" / "results.md").read_text().splitlines() if line[:1] == "|"]
    assert [line for line in table[2:] if line not in shown] == []
    for line, network in zip(table[2::4], rows.values(), strict=True):
        figures = [json.loads((REPO / "reports" / run / "metrics.json").read_text())["test"]["uar"] for run in network]
        spread = f" ± {statistics.stdev(figures):.3f}" if figures[1:] else ""
        assert line[3] == f"{statistics.fmean(figures):.3f}{spread}"
