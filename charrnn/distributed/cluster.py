"""Which processes train together: reads and checks the environment variable TF_CONFIG before TensorFlow is loaded.

TensorFlow's own tools, Kubeflow and cloud services set TF_CONFIG: the addresses of all workers, and which of them this
process is. TensorFlow itself answers a wrong value with a traceback, or by waiting.
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from charrnn_runtime.errors import InputError

TF_CONFIG = "TF_CONFIG"

_EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
_TASK_TYPES = ("chief", "worker")
_ADDRESS = re.compile(r".+:(\d{1,5})", re.ASCII)


@dataclass(frozen=True)
class Cluster:
    """The addresses of all workers, and which worker this process is."""

    addresses: tuple[str, ...]
    """host:port of each worker; the first is the chief, which alone keeps the run and prints figures."""

    index: int
    """The number of this worker, from 0."""

    @property
    def is_chief(self) -> bool:
        """Whether this worker is the chief."""
        return self.index == 0

    @property
    def name(self) -> str:
        """The name of this worker in messages."""
        return f"worker {self.index} of {len(self.addresses)}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """Read TF_CONFIG; return None if it is not set (one machine on its own).

        Raises:
            InputError: TF_CONFIG is not valid.
        """
        text = environment.get(TF_CONFIG, "").strip()
        if not text:
            return None
        try:
            value = json.loads(text)
        except ValueError as error:
            raise _wrong("JSON", f"{text[:60]!r} ({error})") from error
        cluster = value.get("cluster") if isinstance(value, dict) else None
        if not isinstance(cluster, dict) or not cluster:
            raise _wrong('a "cluster" with the addresses of all workers', f"{text[:60]!r}")
        addresses = {kind: _addresses(kind, listed) for kind, listed in cluster.items()}
        in_order = tuple(address for kind in _TASK_TYPES for address in addresses.get(kind, ()))
        return cls(in_order, _index(value, addresses))


@dataclass(frozen=True)
class Distribution:
    """How a run is distributed, as far as it can be decided before TensorFlow is loaded."""

    name: Literal["alone", "mirrored", "multiworker"]
    """One device, all devices of this machine, or several machines."""

    cluster: Cluster | None = None
    """The workers; None on one machine."""

    @classmethod
    def choose(cls, name: str | None, environment: Mapping[str, str]) -> Self:
        """Return the distribution that the user chose.

        Args:
            name: "mirrored" or "multiworker"; None is multiworker if TF_CONFIG is set, and one device otherwise.
            environment: The environment variables.

        Raises:
            InputError: The name is unknown or does not fit TF_CONFIG, or TF_CONFIG is not valid.
        """
        cluster = Cluster.from_environment(environment)
        if name is None:
            return cls("multiworker", cluster) if cluster else cls("alone")
        if name == "multiworker":
            if cluster is None:
                raise _wrong("the workers' addresses for --distribute multiworker", "nothing")
            return cls("multiworker", cluster)
        if name != "mirrored":
            raise InputError(f"--distribute: expected mirrored or multiworker, received {name!r}; correct it")
        if cluster is not None:
            raise InputError(
                f"--distribute mirrored: expected one machine on its own, received {TF_CONFIG} with "
                f"{len(cluster.addresses)} workers; leave one of the two out"
            )
        return cls("mirrored")

    @property
    def is_chief(self) -> bool:
        """Whether this process keeps the run; False for a worker whose chief is another process."""
        return self.cluster is None or self.cluster.is_chief

    @property
    def in_words(self) -> str | None:
        """A sentence for the user; None for one device. A worker that is not the chief prints nothing else."""
        if self.cluster is None:
            return "devices: all of this machine share every batch" if self.name == "mirrored" else None
        if not self.is_chief:
            return f"{self.cluster.name} helps the chief at {self.cluster.addresses[0]}, which keeps the run"
        number = len(self.cluster.addresses)
        return f"{TF_CONFIG}: {number} workers share every batch, this is the chief, which waits for the others"

    def check(self, batch_size: int) -> None:
        """Check that the workers can share a batch evenly.

        Raises:
            InputError: The number of workers does not divide the batch size.
        """
        check_batch_size(batch_size, len(self.cluster.addresses) if self.cluster else 1)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path | None]:
        """Yield a folder for a worker that is not the chief, removed at the end; None for the chief."""
        if self.is_chief:
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="charrnn-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def check_batch_size(batch_size: int, num_shares: int) -> None:
    """Check that a batch can be divided evenly.

    >>> check_batch_size(64, 2)

    Raises:
        InputError: It cannot; the message names the nearest sizes that can.
    """
    if batch_size % num_shares:
        below = batch_size // num_shares * num_shares
        near = " or ".join(str(size) for size in (below, below + num_shares) if size)
        raise InputError(
            f"option batch_size: expected a multiple of {num_shares}, the number of devices that share a batch, "
            f"received {batch_size}; pass --batch-size {near}"
        )


def _addresses(kind: str, listed: Any) -> tuple[str, ...]:
    if kind not in _TASK_TYPES:
        raise _wrong("tasks of the types 'chief' and 'worker'", f"{kind!r} in the cluster")
    if not isinstance(listed, list) or not listed:
        raise _wrong(f"a list of addresses for {kind!r}", repr(listed))
    for address in listed:
        port = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
        if port is None or not 0 < int(port[1]) < 1 << 16:
            raise _wrong("addresses such as 'host0:2222'", repr(address))
    if kind == "chief" and len(listed) > 1:
        raise _wrong("one chief", f"{len(listed)}")
    return tuple(listed)


def _index(value: dict[str, Any], addresses: Mapping[str, tuple[str, ...]]) -> int:
    task = value.get("task")
    kind, index = (task.get("type"), task.get("index")) if isinstance(task, dict) else (None, None)
    if not isinstance(kind, str) or kind not in addresses:
        raise _wrong(f"a task of a type that is in the cluster ({' or '.join(map(repr, addresses))})", repr(kind))
    # Some launchers write the index as a string, and TensorFlow takes it.
    number = int(index) if isinstance(index, str) and index.isdecimal() else index
    last = len(addresses[kind]) - 1
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= last:
        raise _wrong(f"a task index from 0 to {last} for {kind!r}", repr(index))
    return number + (len(addresses.get("chief", ())) if kind == "worker" else 0)


def _wrong(expected: str, received: str) -> InputError:
    return InputError(f"{TF_CONFIG}: expected {expected}, received {received}; it looks like {_EXAMPLE}")
