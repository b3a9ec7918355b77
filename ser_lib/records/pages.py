"""Templates of pages and of the model card, and the card itself."""

import functools
from pathlib import Path

import jinja2

from ser_lib.core.io import write_text
from ser_lib.core.labels import shown_as
from ser_lib.corpora import get_corpus
from ser_lib.records.manifest import read_manifest
from ser_lib.records.record import Record, format_interval, format_value
from ser_lib.store import MODEL_CARD_FILE


@functools.cache
def templates(*, escape: bool) -> jinja2.Environment:
    """Jinja2's environment over `records/templates`; `escape` for pages, whose values must not become markup."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ser_lib.records"),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": format_value,
        "interval": format_interval,
        "shown_as": shown_as,
    }
    return environment


def write_model_card(folder: Path) -> None:
    """Write `model_card.md` into the record of a run that is done."""
    write_text(folder / MODEL_CARD_FILE, model_card(Record(folder, read_manifest(folder))), through_link=False)


def model_card(record: Record) -> str:
    """What a model may be used for and how good it is, in Markdown, of a run that is done."""
    from ser_lib.audio.encoders import ENCODERS  # decoders

    encoder = ENCODERS.get(record.params["ENCODER"])
    return (
        templates(escape=False)
        .get_template("model_card.md")
        .render(
            record=record,
            corpora={name: get_corpus(name) for name in record.params["CORPORA"] + record.params["TEST_CORPORA"]},
            encoder_licence=encoder.LICENCE if encoder else "",
            epochs=len(record.history["loss"]),
            shared=shared_with_training(record),
            advice=advice_of(record),
        )
    )


def shared_with_training(record: Record) -> str:
    """Say what the test set has in common with training, in a sentence; nothing of a record that does not tell."""
    from ser_lib.scoring.leakage import describe_leakage  # pandas

    return describe_leakage(record.leakage) if "test" in record.leakage else ""


def advice_of(record: Record) -> str:
    """What `summary.advise` says of a run; empty where all is well."""
    from ser_lib.scoring.summary import advise  # pandas

    return advise(record.metrics.get("validation", {}), record.baselines, model=record.params["MODEL"])
