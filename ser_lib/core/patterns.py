r"""A regular expression from a user, tried on names in a process that can be stopped.

Python's `re` may take longer than anybody waits for a single name (`(a|aa)+$`), and cannot be stopped. What has another
engine has other faults: `regex` takes a timeout, but all memory for `(?:(?:a{1000}){1000}){1000}`; RE2 knows no letters
beyond ASCII in `\w`.
"""

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence

from ser_lib.core.errors import ParameterError
from ser_lib.core.text import quoted

_SECONDS = 10.0
"""For all names together, of which there may be a hundred thousand: these take a tenth of a second."""
_SEARCH = """
import json, re, sys, warnings
warnings.simplefilter("ignore")
pattern, texts = json.load(sys.stdin)
search = re.compile(pattern).search
json.dump([(found.group(1) or "") if (found := search(text)) else "" for text in texts], sys.stdout)
"""


def fault_of_pattern(name: str, pattern: str | None) -> str:
    """What is wrong with the pattern that the parameter `name` holds; empty if it has one group."""
    if pattern is None:
        return ""
    rule = rf"`{name}` must be a regular expression with one group, such as ^(\w+)_."
    try:
        with warnings.catch_warnings(action="ignore"):  # of what a later Python reads otherwise
            n_groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        return f"{rule} Got {quoted(pattern)}: {error}."
    return "" if n_groups == 1 else f"{rule} Got {quoted(pattern)} with {n_groups} groups."


def find_groups(name: str, pattern: str, texts: Sequence[str]) -> list[str]:
    """What the pattern's group holds in each of some texts, at the first place it fits; empty where it does not.

    Raises
    ------
    ParameterError
        If it takes too long; `name` is the parameter that holds it.
    """
    command = [sys.executable, "-I", "-S", "-c", _SEARCH]
    try:
        done = subprocess.run(
            command, input=json.dumps([pattern, list(texts)]), capture_output=True, check=True, text=True,
            encoding="utf-8", timeout=_SECONDS,
        )  # fmt: skip
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        raise ParameterError(
            f"`{name}` must be found in {len(texts):,} names within {_SECONDS:g} seconds. Got {quoted(pattern)}, "
            f"which is not. Repeat nothing that repeats already, as (a+)+ does."
        ) from None
    return json.loads(done.stdout)
