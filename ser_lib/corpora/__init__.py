"""The corpora: which files belong to one, and what a file's name says.

A corpus is a module with

- `NAME`, and for people `ABOUT` (one sentence), `LICENCE`, `CITATION`, `LANGUAGE`, `N_SPEAKERS`, `HOURS`, and `WHERE`
  (how to get it and what to set then);
- `EMOTIONS`: its own word for an emotion → one of the seven, or None for what has no counterpart among them
  (`LABEL_MAP` may map that to one of them, or make it an emotion of its own);
- `read_name(path)`: what a path below the corpus's folder says (`base.Name`), or a ValueError with the reason;
- where nearly all files have one, `SAMPLING_RATE` (Hz), by which a check knows those that were resampled;
- where the whole corpus can be fetched, `DOWNLOAD` (`base.Archive`, `base.FilesOf` or `base.Dataset`);
- where it is not wav files, `SUFFIXES`, or `is_audio(path)`; where a table says more than names do,
  `read_table(folder)`;
- where the project makes the files itself, `make(folder)`.

Its list of files, if one is known, is `registries/NAME.csv`. `docs/corpora.md` shows how to add a corpus.
"""

import re
from types import ModuleType

from ser_lib.core.errors import ParameterError
from ser_lib.core.text import quoted
from ser_lib.corpora import ased, crema_d, demo, emodb, own, ravdess, savee, tess, turev

_MODULES = (demo, tess, ravdess, crema_d, savee, emodb, ased, turev, own)
CORPORA: dict[str, ModuleType] = {module.NAME: module for module in _MODULES}
_FOLDER = re.compile(r"\w([\w .-]{0,62}\w)?")
"""What a folder of one's own may be called where there are several: a name, and no way to another place."""


def get_corpus(name: str) -> ModuleType:
    """Module of the corpus `name`; `OWN:FOLDER` names one of several folders of one's own.

    Raises
    ------
    ParameterError
        If there is no such corpus.
    """
    corpus, colon, folder = name.partition(":")
    if corpus == own.NAME and colon:
        if not _FOLDER.fullmatch(folder):
            raise ParameterError(
                "`CORPORA` must name one of several folders of your own as OWN:FOLDER, where FOLDER lies in "
                f"`DATASET_PATH` and has a name of letters, digits, _, -, . and spaces. Got {quoted(name)}."
            )
        return own
    if name not in CORPORA:
        raise ParameterError(f"`CORPORA` must name some of {', '.join(CORPORA)}. Got {name!r}.")
    return CORPORA[name]


def suffixes(corpus: ModuleType) -> tuple[str, ...]:
    """Endings of the corpus's audio files, in small letters."""
    return getattr(corpus, "SUFFIXES", (".wav",))
