"""The programs in docs/examples say what the library says; each runs where its package is installed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from charrnn_runtime import load

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "tests" / "golden" / "one_layer"
LINES = ["dries", "Aden", "rrrrrr", "sésé"] * 30


def example(name: str) -> ModuleType:
    """Import a program as a module, by a name that other processes find too."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bits() -> list[float]:
    return [score.bits_per_character for score in load(BUNDLE).score(LINES)]


def test_a_pandas_column_keeps_the_odd_ones(bits: list[float]) -> None:
    pd = pytest.importorskip("pandas", reason="the extra `examples` is not installed")
    model = load(BUNDLE)
    kept = example("pandas_column").odd_ones(model, pd.DataFrame({"id": range(len(LINES)), "name": LINES}), "name", 50)
    expected = [i for i, score in enumerate(model.score(LINES)) if (score.percentile or 0) > 50]
    assert kept["id"].tolist() == expected
    assert kept["bits_per_character"].tolist() == pytest.approx([bits[i] for i in expected], abs=1e-5)


def test_processes_score_in_order(bits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs" / "examples")
    received = list(example("processes").scores(load(BUNDLE), LINES, portion=50))
    assert received == pytest.approx(bits, abs=1e-5)


def test_ray_data_scores_a_parquet_file(bits: list[float], tmp_path: Path) -> None:
    ray: Any = pytest.importorskip("ray", reason="the extra `examples` is not installed")
    pd = pytest.importorskip("pandas", reason="the extra `examples` is not installed")
    pd.DataFrame({"id": range(len(LINES)), "name": LINES}).to_parquet(tmp_path / "names.parquet")
    paths = [ROOT, ROOT / "runtime", ROOT / "docs" / "examples"]
    environment = {"env_vars": {"PYTHONPATH": ":".join(map(str, paths))}}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env=environment)
    try:
        scored = example("ray_data").score(str(BUNDLE), str(tmp_path / "names.parquet"), "name", num_actors=1)
        rows = sorted(scored.take_all(), key=lambda row: row["id"])
    finally:
        ray.shutdown()
    assert [row["bits_per_character"] for row in rows] == pytest.approx(bits, abs=1e-5)


def test_an_endpoint_completes_scores_and_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="the extra `examples` is not installed")
    pytest.importorskip("httpx", reason="the extra `examples` is not installed")
    from fastapi.testclient import TestClient

    monkeypatch.setenv("CHARRNN_MODEL", str(BUNDLE))
    client, model = TestClient(example("endpoint").app), load(BUNDLE)
    received = client.get("/complete", params={"prefix": "dr", "count": 3}).json()
    assert [one["text"] for one in received] == [one.text for one in model.complete("dr", 3)]
    answer = client.get("/score", params={"line": "dries"}).json()
    assert answer["bits_per_character"] == pytest.approx(model.score(["dries"])[0].bits_per_character)
    refused = client.get("/score", params={"line": "drieß"})
    assert refused.status_code == 422
    assert "unknown character 'ß'" in refused.json()["detail"]
