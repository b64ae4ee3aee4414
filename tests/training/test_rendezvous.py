"""Workers wait for one another over real sockets, before TensorFlow is loaded."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from charrnn.distributed.cluster import Cluster
from charrnn.distributed.rendezvous import rendezvous
from charrnn_runtime.errors import InputError, OperationError

Start = Callable[..., list["Future[bool]"]]


@pytest.fixture
def addresses() -> tuple[str, ...]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    found = tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in sockets)
    for one in sockets:
        one.close()
    return found


@pytest.fixture
def start(addresses: tuple[str, ...]) -> Iterator[Start]:
    """Start some of three workers, in an order."""
    with ThreadPoolExecutor(3) as pool:

        def start_workers(
            indices: Sequence[int], digests: str = "aaa", seconds: float = 60, has_ended: bool = False
        ) -> list[Future[bool]]:
            return [
                pool.submit(rendezvous, Cluster(addresses, index), digests[index], seconds=seconds, has_ended=has_ended)
                for index in indices
            ]

        yield start_workers


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_workers_go_on_when_the_last_one_has_come(start: Start, order: tuple[int, ...]) -> None:
    assert [one.result() for one in start(order)] == [True] * 3


def test_a_chief_without_others_waits_for_nobody(addresses: tuple[str, ...]) -> None:
    assert rendezvous(Cluster(addresses[:1], 0), "a")


def test_all_workers_learn_that_the_run_has_ended(start: Start) -> None:
    assert [one.result() for one in start((0, 1, 2), "aba", has_ended=True)] == [False] * 3


def test_a_worker_with_other_options_ends_all_workers(start: Start) -> None:
    for one in start((1, 0, 2), "abb"):
        with pytest.raises(InputError, match="received others on worker 1, 2 of 3, counted from 0; start all of them"):
            one.result()


def test_the_chief_names_the_worker_that_has_not_come(start: Start, addresses: tuple[str, ...]) -> None:
    chief, worker = start((0, 1), seconds=0.5)
    with pytest.raises(OperationError, match=rf"waited 0.5 seconds: .* no word from worker 2 \({addresses[2]}\)"):
        chief.result()
    with pytest.raises(OperationError, match=f"expected an answer of the chief at {addresses[0]}"):
        worker.result()


def test_a_worker_that_cannot_be_reached_is_not_waited_for_by_tensorflow(
    start: Start, addresses: tuple[str, ...]
) -> None:
    chief, _ = start((0, 2), seconds=1)
    call(addresses[0], b'{"index": 1, "digest": "a"}\n').close()
    message = rf"received 'Connection refused' at the address from worker 1 \({addresses[1]}\); start the same"
    with pytest.raises(OperationError, match=message):
        chief.result()


def test_a_worker_names_the_reason_why_it_cannot_reach_the_chief(start: Start) -> None:
    (worker,) = start((1,), seconds=0.5)
    with pytest.raises(OperationError, match=r"waited 0.5 seconds: .* received: Connection refused; start the same"):
        worker.result()


@pytest.mark.parametrize("index", [0, 1])
def test_a_port_that_is_in_use_is_named(start: Start, addresses: tuple[str, ...], index: int) -> None:
    with socket.create_server(("127.0.0.1", int(addresses[index].rpartition(":")[2]))):
        (one,) = start((index,))
        said = (
            f"cannot listen at {addresses[index]}, the address of worker {index} of 3 .* received: Address already in"
        )
        with pytest.raises(OperationError, match=said):
            one.result()


@pytest.mark.parametrize(
    "words", [b"", b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b'{"index": 7}\n', b'{"index": "1"}\n', b"\xff" * 100_000]
)
def test_connections_of_other_programs_are_ignored(start: Start, addresses: tuple[str, ...], words: bytes) -> None:
    (chief,) = start((0,))
    call(addresses[0], words).close()
    assert all(one.result() for one in start((1, 2)))
    assert chief.result()


def test_a_worker_that_has_disconnected_is_waited_for_again(start: Start, addresses: tuple[str, ...]) -> None:
    (chief,) = start((0,))
    call(addresses[0], b'{"index": 1, "digest": "another"}\n').close()
    (second,) = start((2,))
    assert not chief.done()
    (first,) = start((1,))
    assert [one.result() for one in (chief, first, second)] == [True] * 3


def call(address: str, words: bytes) -> socket.socket:
    """Send something to the chief, as soon as it listens."""
    host, _, port = address.rpartition(":")
    while True:
        try:
            connection = socket.create_connection((host, int(port)))
        except ConnectionRefusedError:
            continue
        with contextlib.suppress(ConnectionError):  # the chief has closed the connection
            connection.sendall(words)
        return connection
