"""Lets the workers of a cluster wait for one another before they train: at the chief's address, over a plain socket.

Each worker sends the chief a digest of what it is about to train; when all have come, the chief answers all of them.
TensorFlow's coordination service cannot do this (2.21, tried): while the chief waits for the others, the time-out that
can be set does not apply, and neither Ctrl-C nor SIGTERM is answered for an hour; a port in use gives no reason, and
the process does not end. TensorFlow is not imported here; it listens at the same addresses as soon as they are free.
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

MAX_WAIT_SECONDS = 300.0
"""How long workers wait for one another: a machine may have to be found, and to load TensorFlow."""

_MAX_MESSAGE_BYTES = 65536
_MESSAGE_SECONDS = 5.0
_SECONDS_BETWEEN_TRIES = 0.3


@dataclass(frozen=True)
class _Arrival:
    """A worker that has connected to the chief."""

    connection: socket.socket
    digest: str


def rendezvous(cluster: Cluster, digest: str, *, has_ended: bool = False, seconds: float = MAX_WAIT_SECONDS) -> bool:
    """Wait until all workers are there, and check that they are about to train the same.

    Args:
        cluster: The workers.
        digest: A digest of the options and the data that this worker is about to train with.
        has_ended: Whether there is nothing left to train; only the chief's value counts.
        seconds: How long to wait.

    Returns:
        Whether there is something left to train.

    Raises:
        InputError: Some workers have another digest than the chief; all workers raise it.
        OperationError: Some workers did not come, or this worker's port is in use.
    """
    with contextlib.ExitStack() as connections:
        arrivals: Mapping[int, _Arrival] = {}
        with _listen(cluster) as listener:
            if cluster.is_chief:
                arrivals = _wait_for_all(cluster, listener, seconds, connections)
                different = sorted(index for index, arrival in arrivals.items() if arrival.digest != digest)
                answer: Mapping[str, Any] = {"has_ended": has_ended, "different": different}
            else:
                answer = _ask_chief(cluster, digest, seconds)
        # Answered only now that the port is free: TensorFlow is about to listen there.
        for arrival in arrivals.values():
            _send(arrival.connection, answer)
    if answer["different"] and not answer["has_ended"]:
        raise InputError(
            f"expected the options and the data of the chief on every worker, received others on worker "
            f"{', '.join(map(str, answer['different']))} of {len(cluster.addresses)}, counted from 0; start all of "
            "them with the same command"
        )
    return not answer["has_ended"]


def _listen(cluster: Cluster) -> socket.socket:
    """Listen at this worker's own port, so that a port in use has an error message; TensorFlow gives no reason."""
    address = cluster.addresses[cluster.index]
    try:
        return socket.create_server(("", _host_and_port(address)[1]), backlog=len(cluster.addresses))
    except OSError as error:
        raise OperationError(
            f"cannot listen at {address}, the address of {cluster.name} in TF_CONFIG: expected a port that is free, "
            f"received: {os.strerror(error.errno or 0)}; choose another one, or end what uses it"
        ) from error


def _wait_for_all(
    cluster: Cluster, listener: socket.socket, seconds: float, connections: contextlib.ExitStack
) -> Mapping[int, _Arrival]:
    """Return all workers but the chief by their index."""
    deadline = time.monotonic() + seconds
    others = range(1, len(cluster.addresses))
    arrivals: dict[int, _Arrival] = {}
    problems = dict.fromkeys(others, "no word")
    while missing := [index for index in others if index not in arrivals]:
        seconds_left = deadline - time.monotonic()
        if seconds_left <= 0:
            received = (f"{problems[index]} from worker {index} ({cluster.addresses[index]})" for index in missing)
            raise OperationError(
                f"waited {seconds:g} seconds: expected all {len(cluster.addresses)} workers, received "
                f"{', '.join(received)}; start the same command there, with the same addresses in TF_CONFIG"
            )
        # At most a second, so that a worker that has disconnected is noticed.
        if select.select([listener], [], [], min(seconds_left, 1.0))[0]:
            connection = connections.enter_context(listener.accept()[0])
            message = _receive(connection, _MESSAGE_SECONDS)
            index = message.get("index")
            if not isinstance(index, int) or index not in others:
                connection.close()
            elif problem := _connection_problem(cluster.addresses[index]):
                problems[index] = f"'{problem}' at the address"
                connection.close()
            else:
                arrivals[index] = _Arrival(connection, str(message.get("digest")))
        gone = select.select([arrival.connection for arrival in arrivals.values()], [], [], 0)[0]
        arrivals = {index: arrival for index, arrival in arrivals.items() if arrival.connection not in gone}
    return arrivals


def _connection_problem(address: str) -> str | None:
    """Return why an address cannot be reached, None if it can: TensorFlow would wait for ever."""
    try:
        socket.create_connection(_host_and_port(address), timeout=_MESSAGE_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _ask_chief(cluster: Cluster, digest: str, seconds: float) -> Mapping[str, Any]:
    """Send this worker's digest to the chief and return the chief's answer."""
    deadline = time.monotonic() + seconds
    chief, problem = cluster.addresses[0], "nothing"
    while (seconds_left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(_host_and_port(chief), timeout=seconds_left) as connection:
                _send(connection, {"index": cluster.index, "digest": digest})
                answer = _receive(connection, deadline - time.monotonic())
        except OSError as error:
            problem, answer = error.strerror or str(error), {}
        if {"different", "has_ended"} <= answer.keys():
            return answer
        time.sleep(_SECONDS_BETWEEN_TRIES)
    raise OperationError(
        f"waited {seconds:g} seconds: expected an answer of the chief at {chief}, received: {problem}; start the same "
        "command there, with the same addresses in TF_CONFIG"
    )


def _send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    # If the other side has disconnected, TensorFlow reports a lost worker at the first step.
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(connection: socket.socket, seconds: float) -> Mapping[str, Any]:
    """Return the JSON object that the other side sends as one line; an empty one for anything else, or nothing."""
    connection.settimeout(max(seconds, 0.01))
    data = b""
    try:
        while not data.endswith(b"\n") and len(data) < _MAX_MESSAGE_BYTES:
            if not (part := connection.recv(_MAX_MESSAGE_BYTES)):
                break
            data += part
        message = json.loads(data)
    except (OSError, ValueError):
        return {}
    return message if isinstance(message, dict) else {}


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
