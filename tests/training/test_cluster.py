"""TF_CONFIG, before TensorFlow is loaded."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from charrnn.distributed.cluster import Cluster, Distribution, check_batch_size
from charrnn.distributed.strategy import SingleProcess
from charrnn_runtime.errors import InputError

HOSTS = {"worker": ["a:1", "b:2"]}


def environment(cluster: Any, kind: Any = "worker", index: Any = 0) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_the_first_worker_is_the_chief_unless_there_is_one() -> None:
    assert Cluster.from_environment(environment(HOSTS)) == Cluster(("a:1", "b:2"), 0)
    assert Cluster.from_environment(environment(HOSTS, index="1")) == Cluster(("a:1", "b:2"), 1)
    with_chief = {**HOSTS, "chief": ["c:3"]}
    assert Cluster.from_environment(environment(with_chief, "chief")) == Cluster(("c:3", "a:1", "b:2"), 0)
    assert Cluster.from_environment(environment(with_chief, index=1)) == Cluster(("c:3", "a:1", "b:2"), 2)
    assert Cluster.from_environment({}) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"TF_CONFIG": "{cluster"}, "TF_CONFIG: expected JSON, received"),
        ({"TF_CONFIG": "[]"}, 'expected a "cluster"'),
        ({"TF_CONFIG": '{"task": {}}'}, 'expected a "cluster"'),
        ({"TF_CONFIG": json.dumps({"cluster": HOSTS})}, "expected a task of a type that is in the cluster"),
        (environment({"ps": ["a:1"]}), "received 'ps' in the cluster"),
        (environment({"worker": []}), "expected a list of addresses for 'worker'"),
        (environment({"worker": ["a"]}), "expected addresses such as 'host0:2222', received 'a'"),
        (environment({"worker": ["a:70000"]}), "expected addresses such as 'host0:2222', received 'a:70000'"),
        (environment({"worker": [2222]}), "expected addresses such as 'host0:2222', received 2222"),
        (environment({"chief": ["a:1", "b:1"]}, "chief"), "expected one chief, received 2"),
        (environment(HOSTS, "evaluator"), r"in the cluster \('worker'\), received 'evaluator'"),
        (environment(HOSTS, index=2), "expected a task index from 0 to 1 for 'worker', received 2"),
        (environment(HOSTS, index=-1), "received -1"),
        (environment(HOSTS, index=True), "received True"),
        (environment(HOSTS, index=None), "received None"),
    ],
)
def test_a_wrong_tf_config_is_named_in_one_line(config: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        Cluster.from_environment(config)
    assert "it looks like" in str(raised.value)


def test_the_environment_decides_unless_the_user_does() -> None:
    assert Distribution.choose(None, {}) == Distribution("alone")
    assert Distribution.choose("mirrored", {}) == Distribution("mirrored")
    worker = Distribution.choose(None, environment(HOSTS, index=1))
    assert (worker.name, worker.is_chief) == ("multiworker", False)
    assert Distribution.choose(None, environment(HOSTS)).is_chief
    with pytest.raises(InputError, match="expected the workers' addresses for --distribute multiworker"):
        Distribution.choose("multiworker", {})
    with pytest.raises(InputError, match="with 2 workers; leave one of the two out"):
        Distribution.choose("mirrored", environment(HOSTS))
    with pytest.raises(InputError, match="expected mirrored or multiworker, received 'horovod'"):
        Distribution.choose("horovod", {})


def test_a_worker_has_a_folder_of_its_own_that_is_removed_at_the_end() -> None:
    with Distribution.choose(None, environment(HOSTS, index=1)).scratch() as folder:
        assert folder is not None
        (folder / "splits").mkdir()
    assert not folder.exists()
    with Distribution.choose(None, environment(HOSTS)).scratch() as folder:
        assert folder is None


@pytest.mark.parametrize(("size", "near"), [(7, "6 or 9"), (2, "3")])
def test_a_batch_that_cannot_be_divided_names_the_nearest_sizes(size: int, near: str) -> None:
    with pytest.raises(InputError, match=f"a multiple of 3, .* received {size}; pass --batch-size {near}$"):
        check_batch_size(size, 3)


def test_parts_are_added_up_in_their_order() -> None:
    def compute(weights: Sequence[int], number: int) -> tuple[int, list[int], tuple[int]]:
        return number, [weight * number for weight in weights], (-number,)

    assert SingleProcess(3).distribute(compute)([10, 100], [(1,), (2,), (3,)]) == (6, [60, 600], [(-1,), (-2,), (-3,)])
    assert SingleProcess(1).distribute(compute)([10], [(4,)]) == (4, [40], [(-4,)])


def test_a_single_process_computes_all_rows_and_decides_alone() -> None:
    assert SingleProcess(1).rows(6) == [slice(0, 6)]
    assert SingleProcess(2).rows(6) == [slice(0, 3), slice(3, 6)]
    assert SingleProcess(2).rows(5) == [slice(0, 5)]
    assert SingleProcess().broadcast_number(lambda: 2.5) == 2.5
    assert [SingleProcess().stops(asked) for asked in (True, False)] == [True, False]
