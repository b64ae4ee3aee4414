"""Workers meet over real sockets, before TensorFlow is there."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from charrnn.distributed.cluster import Cluster
from charrnn.distributed.rendezvous import rendezvous
from charrnn_runtime.errors import InputError, OperationError

Meet = Callable[..., list["Future[bool]"]]


@pytest.fixture
def addresses() -> tuple[str, ...]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    found = tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in sockets)
    for one in sockets:
        one.close()
    return found


@pytest.fixture
def start(addresses: tuple[str, ...]) -> Iterator[Meet]:
    """Let some of three workers come, in an order."""
    with ThreadPoolExecutor(3) as pool:

        def begin(
            come: Sequence[int], purposes: str = "aaa", seconds: float = 60, **chosen: bool
        ) -> list[Future[bool]]:
            clusters = [Cluster(addresses, index) for index in come]
            return [
                pool.submit(rendezvous, cluster, purposes[cluster.index], seconds=seconds, **chosen)
                for cluster in clusters
            ]

        yield begin


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_go_on_when_the_last_one_has_come(start: Meet, order: tuple[int, ...]) -> None:
    assert [one.result() for one in start(order)] == [True] * 3


def test_a_chief_without_others_waits_for_nobody(addresses: tuple[str, ...]) -> None:
    assert rendezvous(Cluster(addresses[:1], 0), "a")


def test_all_hear_that_the_run_has_ended(start: Meet) -> None:
    assert [one.result() for one in start((0, 1, 2), "aba", has_ended=True)] == [False] * 3


def test_workers_of_another_run_end_all_of_them(start: Meet) -> None:
    for one in start((1, 0, 2), "abb"):
        with pytest.raises(InputError, match="received others on worker 1, 2 of 3, counted from 0; start all of them"):
            one.result()


def test_the_chief_names_who_has_not_come(start: Meet, addresses: tuple[str, ...]) -> None:
    chief, helper = start((0, 1), seconds=0.5)
    with pytest.raises(OperationError, match=rf"waited 0.5 seconds: .* no word from worker 2 \({addresses[2]}\)"):
        chief.result()
    with pytest.raises(OperationError, match=f"expected an answer of the chief at {addresses[0]}"):
        helper.result()


def test_a_worker_that_cannot_be_reached_is_not_waited_for_by_tensorflow(
    start: Meet, addresses: tuple[str, ...]
) -> None:
    chief, _ = start((0, 2), seconds=1)
    call(addresses[0], b'{"index": 1, "purpose": "a"}\n').close()
    message = rf"received 'Connection refused' at the address from worker 1 \({addresses[1]}\); start the same"
    with pytest.raises(OperationError, match=message):
        chief.result()


def test_a_worker_says_why_it_does_not_reach_the_chief(start: Meet) -> None:
    (helper,) = start((1,), seconds=0.5)
    with pytest.raises(OperationError, match=r"waited 0.5 seconds: .* received: Connection refused; start the same"):
        helper.result()


@pytest.mark.parametrize("index", [0, 1])
def test_a_port_that_is_in_use_is_named(start: Meet, addresses: tuple[str, ...], index: int) -> None:
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
def test_strangers_are_not_counted(start: Meet, addresses: tuple[str, ...], words: bytes) -> None:
    (chief,) = start((0,))
    call(addresses[0], words).close()
    assert all(one.result() for one in start((1, 2)))
    assert chief.result()


def test_who_has_gone_again_is_waited_for(start: Meet, addresses: tuple[str, ...]) -> None:
    (chief,) = start((0,))
    call(addresses[0], b'{"index": 1, "purpose": "another"}\n').close()
    (second,) = start((2,))
    assert not chief.done()
    (first,) = start((1,))
    assert [one.result() for one in (chief, first, second)] == [True] * 3


def call(address: str, words: bytes) -> socket.socket:
    """Say something to the chief, as soon as it is there."""
    host, _, port = address.rpartition(":")
    while True:
        try:
            connection = socket.create_connection((host, int(port)))
        except ConnectionRefusedError:
            continue
        with contextlib.suppress(ConnectionError):  # who is not listened to any more
            connection.sendall(words)
        return connection
