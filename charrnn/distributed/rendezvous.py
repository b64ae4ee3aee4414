"""Where the workers of a cluster meet before they train: at the address of the chief, over a plain socket.

TensorFlow would wait an hour for a worker that does not come, deaf to Ctrl-C and SIGTERM, and train on when one of them
was started with other options. So all say here first what they are about to train, and the chief answers all at once.
Not known here is what they train, nor TensorFlow, which takes over the addresses as soon as they are free again.
"""

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn.distributed.cluster import Cluster
from charrnn_runtime.errors import InputError, OperationError

SECONDS_TO_COME = 300.0
"""How long workers wait for one another: for a machine to be found and to load TensorFlow."""

_MOST_BYTES = 65536
_SECONDS_TO_SPEAK = 5.0
_SECONDS_BETWEEN_TRIES = 0.3


@dataclass(frozen=True)
class _Guest:
    """A worker that has come to the chief."""

    connection: socket.socket
    purpose: str


def rendezvous(cluster: Cluster, purpose: str, *, has_ended: bool = False, seconds: float = SECONDS_TO_COME) -> bool:
    """Wait until all workers are there, and make sure that they are about to train the same.

    Args:
        cluster: The workers.
        purpose: What this one is about to train, a digest.
        has_ended: Whether there is nothing left to train; only the chief's counts.
        seconds: How long to wait.

    Returns:
        Whether there is something left to train.

    Raises:
        InputError: Some were started with another purpose than the chief; all of them raise it.
        OperationError: Some did not come, or this one's port is in use.
    """
    with contextlib.ExitStack() as connections:
        guests: Mapping[int, _Guest] = {}
        with _listening(cluster) as listener:
            if cluster.is_chief:
                guests = _receive(cluster, listener, seconds, connections)
                strange = sorted(index for index, guest in guests.items() if guest.purpose != purpose)
                answer: Mapping[str, Any] = {"has_ended": has_ended, "strange": strange}
            else:
                answer = _visit(cluster, purpose, seconds)
        # TensorFlow will listen at these addresses now, so nobody does so any more.
        for guest in guests.values():
            _say(guest.connection, answer)
    if answer["strange"] and not answer["has_ended"]:
        raise InputError(
            f"expected the options and the data of the chief on every worker, received others on worker "
            f"{', '.join(map(str, answer['strange']))} of {len(cluster.addresses)}, counted from 0; start all of them "
            "with the same command"
        )
    return not answer["has_ended"]


def _listening(cluster: Cluster) -> socket.socket:
    """Take this worker's own port; TensorFlow gives no reason when it cannot."""
    address = cluster.addresses[cluster.index]
    try:
        return socket.create_server(("", _host_and_port(address)[1]), backlog=len(cluster.addresses))
    except OSError as error:
        raise OperationError(
            f"cannot listen at {address}, the address of {cluster.name} in TF_CONFIG: expected a port that is free, "
            f"received: {os.strerror(error.errno or 0)}; choose another one, or end what uses it"
        ) from error


def _receive(
    cluster: Cluster, listener: socket.socket, seconds: float, connections: contextlib.ExitStack
) -> Mapping[int, _Guest]:
    """Return all other workers by their index."""
    deadline = time.monotonic() + seconds
    others = range(1, len(cluster.addresses))
    guests: dict[int, _Guest] = {}
    troubles = dict.fromkeys(others, "no word")
    while missing := [index for index in others if index not in guests]:
        left = deadline - time.monotonic()
        if left <= 0:
            received = (f"{troubles[index]} from worker {index} ({cluster.addresses[index]})" for index in missing)
            raise OperationError(
                f"waited {seconds:g} seconds: expected all {len(cluster.addresses)} workers, received "
                f"{', '.join(received)}; start the same command there, with the same addresses in TF_CONFIG"
            )
        if select.select([listener], [], [], min(left, 1.0))[0]:
            connection = connections.enter_context(listener.accept()[0])
            heard = _hear(connection, _SECONDS_TO_SPEAK)
            index = heard.get("index")
            if not isinstance(index, int) or index not in others:
                connection.close()
            elif trouble := _trouble_reaching(cluster.addresses[index]):
                troubles[index] = f"'{trouble}' at the address"
                connection.close()
            else:
                guests[index] = _Guest(connection, str(heard.get("purpose")))
        # Who has gone again since is missing again.
        gone = select.select([guest.connection for guest in guests.values()], [], [], 0)[0]
        guests = {index: guest for index, guest in guests.items() if guest.connection not in gone}
    return guests


def _trouble_reaching(address: str) -> str | None:
    """Return why nobody can be reached at an address; TensorFlow would not come to an end."""
    try:
        socket.create_connection(_host_and_port(address), timeout=_SECONDS_TO_SPEAK).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _visit(cluster: Cluster, purpose: str, seconds: float) -> Mapping[str, Any]:
    """Tell the chief this worker's purpose and return its answer."""
    deadline = time.monotonic() + seconds
    chief, trouble = cluster.addresses[0], "nothing"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(_host_and_port(chief), timeout=left) as connection:
                _say(connection, {"index": cluster.index, "purpose": purpose})
                answer = _hear(connection, deadline - time.monotonic())
        except OSError as error:
            trouble, answer = error.strerror or str(error), {}
        if {"strange", "has_ended"} <= answer.keys():
            return answer
        time.sleep(_SECONDS_BETWEEN_TRIES)
    raise OperationError(
        f"waited {seconds:g} seconds: expected an answer of the chief at {chief}, received: {trouble}; start the same "
        "command there, with the same addresses in TF_CONFIG"
    )


def _say(connection: socket.socket, message: Mapping[str, Any]) -> None:
    # Who has gone in this very moment is missed when it is needed.
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(message).encode() + b"\n")


def _hear(connection: socket.socket, seconds: float) -> Mapping[str, Any]:
    """Return the object the other side says in one line; an empty one if it says anything else, or nothing."""
    connection.settimeout(max(seconds, 0.01))
    data = b""
    try:
        while not data.endswith(b"\n") and len(data) < _MOST_BYTES and (part := connection.recv(_MOST_BYTES)):
            data += part
        message = json.loads(data)
    except (OSError, ValueError):
        return {}
    return message if isinstance(message, dict) else {}


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
