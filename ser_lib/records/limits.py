"""What a model says of itself beside an answer: what it has learnt from, and how right it was about other voices."""

import csv
import hashlib
import io

from ser_lib.core.errors import RunError
from ser_lib.core.paths import locate, resolve
from ser_lib.core.text import printable
from ser_lib.model.bundle import Bundle
from ser_lib.model.bundle_info import BundleInfo
from ser_lib.records.models import model_folder, named_models
from ser_lib.records.packing import read_packed
from ser_lib.records.record import find_record, private_values
from ser_lib.store import SPLIT_FILE

_COLUMNS = {"clip", "corpus", "speaker", "set"}
"""What of a split's table is needed."""
_UNKNOWN = "How right it is about other voices is not known here. "


def limits(run: str, bundle: Bundle) -> str:
    """One line on what the model has learnt from, and how right it was about other voices."""
    *corpora, last = bundle.info.corpora
    named = f"{', '.join(corpora)} and {last}" if corpora else last
    measured = expected(bundle.info) or _tested(run, bundle) or _like_it(run) or _UNKNOWN
    return printable(
        f"Model {run} has learnt from {_voices(_speakers(run, bundle))}{named}. {measured}Do not judge people by it."
    )


def expected(info: BundleInfo, name: str = "it") -> str:
    """How right a model was about voices left out of its training, in a sentence; empty if that was not measured."""
    if not info.left_out:
        return ""
    accuracy = sum(one.accuracy for one in info.left_out) / len(info.left_out)
    return f"Of voices that {name} never heard, {_of_ten(accuracy)}. "


def _of_ten(accuracy: float) -> str:
    return f"{10 * accuracy:.0f} of 10 answers were right ({accuracy:.0%})"


def _tested(run: str, bundle: Bundle) -> str:
    """How right a model was about its test set, if none of whose speakers it has learnt from; empty otherwise."""
    try:
        record = find_record(run)
        trained, results = record.manifest.stages.get("03_train"), record.evaluation
    except RunError:
        return ""
    n, accuracy = results.get("speakers"), record.metric_value("accuracy")
    all_new = results.get("known", {}).get("speakers") == 0 and not results.get("unknown", {}).get("speakers")
    same = trained is not None and bundle.info.onnx_sha256 in trained.artifacts.values()
    if not (n and all_new and same and accuracy is not None):
        return ""
    return f"Of {n} {'speaker' if n == 1 else 'speakers'} that it never heard, {_of_ten(accuracy)}. "


def _like_it(run: str) -> str:
    """How right a model like this one was about speakers whom it had not heard, if the list of models tells that."""
    try:
        strangers = next((one.strangers for one in named_models() if one.run == run), None)
    except RunError:
        return ""
    if not strangers:
        return ""
    return f"Of {strangers.speakers} speakers whom a model like it never heard, {_of_ten(strangers.accuracy)}. "


def _voices(speakers: set[tuple[str, str]]) -> str:
    """Count the speakers, as far as they are known: `111 speakers of `; empty where no table tells."""
    count = len([name for _, name in speakers if name])
    parts = [f"{count} {'speaker' if count == 1 else 'speakers'}"] if count else []
    parts += ["an unknown number of others" if count else "an unknown number of speakers"] * (count < len(speakers))
    return f"{' and '.join(parts)} of " if parts else ""


def _speakers(run: str, bundle: Bundle) -> set[tuple[str, str]]:
    """Corpus and name of the speakers that trained the model, as far as its split is known."""
    return {(row["corpus"], row["speaker"]) for row in _split(run, bundle) if row["set"] == "train"}


def untested_clips(run: str, bundle: Bundle) -> set[str]:
    """Clips of the model's split that are not in its test set, such as copies of training clips, if it is known."""
    return {row["clip"] for row in _split(run, bundle) if row["set"] != "test"}


def _split(run: str, bundle: Bundle) -> list[dict[str, str]]:
    """Rows of the model's own split, if the table of it is there."""
    private = private_values(run)
    own = [resolve(private["OUTPUT_DIR"])] if "OUTPUT_DIR" in private else []
    for folder in (model_folder(run), *own, locate(run)):
        try:
            table = read_packed(folder, SPLIT_FILE) or b""
            if hashlib.sha256(table).hexdigest() == bundle.info.split_sha256:
                rows = csv.DictReader(io.StringIO(table.decode(), newline=""))
                return list(rows) if set(rows.fieldnames or ()) >= _COLUMNS else []
        except (csv.Error, ValueError):  # of a bundle from elsewhere
            return []
    return []
