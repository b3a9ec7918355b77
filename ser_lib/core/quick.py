"""What makes imports of other libraries quick."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_GRAMMAR = "rfc3987_syntax"


@contextmanager
def without_grammar() -> Iterator[None]:
    """Import nbformat without the grammar of internationalised web addresses, which takes two seconds to build.

    nbformat imports jsonschema, and jsonschema imports the grammar where it is installed, as JupyterLab's server wants
    it. Without it jsonschema offers no check of the formats `iri` and `iri-reference`, which notebooks do not have.
    Nothing changes where jsonschema is loaded already, and afterwards the grammar can be imported as ever.
    """
    if "jsonschema" in sys.modules or _GRAMMAR in sys.modules:
        yield
        return
    sys.modules[_GRAMMAR] = None  # type: ignore[assignment]  # Python's way to say that there is no such module
    try:
        yield
    finally:
        del sys.modules[_GRAMMAR]
