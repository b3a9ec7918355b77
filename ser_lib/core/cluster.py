"""Other machines through Dask: where its scheduler is, whether its workers will do, and joblib's way to them.

Dask is imported when there is a scheduler, and never before. A worker may be killed, cut off or new at any time: Dask
gives its work to another. What no worker should get is sorted out here: work of other code, or without the corpus.
"""

import functools
import ipaddress
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ser_lib.core.errors import ClusterError
from ser_lib.core.extras import name_extras
from ser_lib.core.identity import fingerprint, first_difference, identity
from ser_lib.core.paths import project_root, resolve

if TYPE_CHECKING:
    from distributed import Client

VARIABLE = "DASK_SCHEDULER_ADDRESS"
"""Dask's own environment variable: the address of its scheduler."""
PATIENCE = 30.0
"""Seconds to wait for the scheduler, and for its first worker."""
_DASHBOARD_PATIENCE = 3.0
"""Seconds to wait for the dashboard, which is looked at for its address alone."""
_NO_BOKEH = b"Dask needs "
"""What Dask answers in place of the dashboard where bokeh is not installed."""
_clients: dict[str, "Client"] = {}
"""Client of each address that this process gives work to."""


def scheduler_address() -> str | None:
    """Address of the scheduler that this process and its kernels give work to; None without one."""
    return os.environ.get(VARIABLE) or None


def is_safe(address: str) -> bool:
    """Tell whether an address is of this machine, or its connections are encrypted (TLS)."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme in ("tls", "wss", "inproc"):
        return True
    return is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Tell whether a host, an address or a name, is this machine and nobody else's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def connect(address: str) -> "Client":
    """Client of a scheduler that has workers; one for each address and process.

    Raises
    ------
    ClusterError
        If nothing answers.
    ExtraError
        If Dask is not installed.
    """
    if address in _clients and _clients[address].status == "running":
        return _clients[address]
    with name_extras():
        from distributed import Client
    for name in ("distributed", "distributed.client"):  # what they would print, our own errors say in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions: `check_workers` refuses them
            client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ClusterError(
            f"A Dask scheduler must answer at {address}: {reason}. Start one: dask scheduler; docs/cluster.md has more."
        ) from None
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        client.close()
        raise ClusterError(
            f"The scheduler at {address} must have workers. Got none in {PATIENCE:.0f} s. "
            f"Start one on each machine: dask worker {address} --nworkers auto --nthreads 1"
        ) from None
    _clients[address] = client
    return client


def has_dashboard(link: str) -> bool:
    """Tell whether Dask's dashboard answers at its address; one left out, or without bokeh, has an address too."""
    from http.client import HTTPException
    from urllib.request import ProxyHandler, build_opener

    ask = build_opener(ProxyHandler({})).open  # it is as near as the scheduler
    try:
        with ask(link, timeout=_DASHBOARD_PATIENCE) as answer:
            return _NO_BOKEH not in answer.read(1000)
    except (OSError, ValueError, HTTPException):  # ValueError: a template that gives no address
        return False


def lost(address: str) -> ClusterError:
    """Error that says that a scheduler is gone."""
    return ClusterError(
        f"The Dask scheduler at {address} is gone, or cannot be reached any more. What was done is kept; "
        "start it again, and give the same command again, or go on with --resume."
    )


def name_workers(client: "Client") -> dict[str, str]:
    """Address → what a message calls it, of each worker."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {
        address: address if one["name"] == address else f"{one['name']} ({address})" for address, one in workers.items()
    }


def check_workers(client: "Client", describe: Callable[[], Mapping[str, str]] = identity) -> None:
    """Refuse workers of another commit, lock or Python: what they make would not be the same.

    Raises
    ------
    ClusterError
        Naming each of them, and what is different.
    """
    names = name_workers(client)
    there = ask_workers(client, describe)
    faults = []
    for address, theirs in sorted(there.items()):
        if isinstance(theirs, BaseException):
            fault = f"no ser_lib that it can ask ({type(theirs).__name__}: {theirs})"
        else:
            fault = first_difference(theirs, describe())
        if fault:
            faults.append(f"{names.get(address, address)} has {fault}")
    if faults:
        raise ClusterError(
            f"Workers must have the commit, lock and Python of this command. {'; '.join(faults)}. "
            "Bring them to the same commit, `make setup` there, and start them again."
        )


def check_code(code: str, worker: str) -> None:
    """Refuse, on a worker, work for code of another `fingerprint` than its own: it came after `check_workers` asked.

    Raises
    ------
    ClusterError
        Naming the worker.
    """
    if fingerprint() != code:
        raise ClusterError(
            f"Workers must have the commit, lock and Python of this command. {worker} has others: bring it to the same "
            "commit, `make setup` there, and start it again."
        )


def ask_workers(client: "Client", function: Callable, *args: object) -> dict[str, Any]:
    """What a function returns, or raises, on each worker; one that has gone meanwhile has no answer."""
    answers = client.run(function, *args, on_error="return")
    return {address: one for address, one in answers.items() if not isinstance(one, OSError)}


def where_seen(client: "Client", path: Path) -> dict[str, Any]:
    """Options of Dask for work that needs a file or folder: which workers may do it, if not all see it.

    Those that do not are named once in a process.

    Raises
    ------
    ClusterError
        If none sees it.
    """
    there = ask_workers(client, _sees, to_send(path))
    names = name_workers(client)
    blind = [address for address, sees in there.items() if sees is not True]
    for address in blind:
        _warn_of_blind(names.get(address, address), to_send(path))
    if there and len(blind) == len(there):
        raise ClusterError(
            f"A worker must see the same corpora as this command. None sees {to_send(path)}. Share its folder."
        )
    seeing = [address for address in there if address not in blind]
    return {"workers": seeing, "allow_other_workers": True} if blind else {}


@functools.cache
def _warn_of_blind(name: str, path: Path) -> None:
    print(f"warning: worker {name} does not see {path}, and is given no work.", file=sys.stderr, flush=True)


def _sees(path: Path) -> bool:
    return resolve(path).exists()


def to_send(path: Path) -> Path:
    """Path as another machine finds it: inside the project from its root, which may lie elsewhere there."""
    return path.relative_to(project_root()) if path.is_relative_to(project_root()) else path
