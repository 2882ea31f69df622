"""What the server tells of itself: metrics, OpenAPI, the page at /docs, and what the calibration chose."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from luban.config import ServeConfig
from luban.encoding import Batch
from luban.folder import Folder
from luban.runtimes.base import Runtime
from luban.runtimes.onnx import OnnxRuntime
from luban.stages.serve import Served, build
from luban.stages.serve.calibrate import Calibrated, calibrate
from tests.serve.conftest import serving
from tests.serve.models import slowed


def samples(client: httpx.Client) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(s.name, tuple(sorted(s.labels.values()))): s.value for family in families for s in family.samples}


def test_requests_rows_and_rejects_are_counted_by_model(folder: Folder, other: Folder) -> None:
    with serving({"desk": Served.open(folder), "other": Served.open(other)}) as client:
        client.post("/models/desk/predict", json={"inputs": ["card", "where is my order"]})
        client.post("/models/desk/predict", json={"text": ""})
        seen = samples(client)
    assert seen["luban_requests_total", ("200", "desk", "plain")] == 1
    assert seen["luban_requests_total", ("422", "desk", "plain")] == 1
    assert seen["luban_rejects_total", ("desk", "invalid")] == 1
    assert seen["luban_rows_total", ("desk",)] == 2
    assert seen["luban_rows_total", ("other",)] == 0


def test_times_are_histograms_in_seconds(folder: Folder) -> None:
    served, _ = slowed(folder, 0.05)
    with serving({"desk": served}) as client:
        client.post("/models/desk/predict", json={"text": "card"})
        seen = samples(client)
    for name in ("queue_wait", "tokenise", "infer"):
        assert seen[f"luban_{name}_seconds_count", ("desk",)] == 1
    assert 0.05 <= seen["luban_infer_seconds_sum", ("desk",)] < 5


def test_batches_are_measured_in_rows_and_in_sub_words_without_padding(folder: Folder) -> None:
    with serving({"desk": Served.open(folder)}, batch_rows=1) as client:
        client.post("/models/desk/predict", json={"inputs": ["card", "where is my order"]})
        seen = samples(client)
    assert (seen["luban_batch_rows_count", ("desk",)], seen["luban_batch_rows_sum", ("desk",)]) == (2, 2)
    assert seen["luban_batch_tokens_sum", ("desk",)] == 3 + 6
    assert seen["luban_padding_waste_ratio_sum", ("desk",)] == 0


def test_truncated_rows_are_counted_and_nothing_stays_in_flight(folder: Folder) -> None:
    with serving({"desk": Served.open(folder)}) as client:
        client.post("/models/desk/predict", json={"text": "i " * 2400})
        seen = samples(client)
    assert seen["luban_truncated_rows_total", ("desk",)] == 1
    assert seen["luban_in_flight_requests", ("desk",)] == 0
    assert seen["luban_waiting_requests", ("desk",)] == 0


def test_the_openapi_document_describes_every_route_and_its_parameters(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    paths = document["paths"]
    assert {"/models/{name}/predict", "/models/{name}/explain", "/v2/models/{name}/infer", "/metrics", "/v2"} <= set(
        paths
    )
    for path, verbs in paths.items():
        for operation in verbs.values():
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path)), path
            assert all(p["in"] == "path" for p in operation.get("parameters", []))
            assert operation["summary"]


def test_every_reference_of_the_openapi_document_leads_somewhere(client: httpx.Client) -> None:
    reply = client.get("/openapi.json")
    known = {f"#/components/schemas/{name}" for name in reply.json()["components"]["schemas"]}
    used = set(re.findall(r'"\$ref":\s*"([^"]+)"', reply.text))
    assert used
    assert used <= known


def test_operations_have_names_of_their_own(client: httpx.Client) -> None:
    operations = [
        operation["operationId"]
        for verbs in client.get("/openapi.json").json()["paths"].values()
        for operation in verbs.values()
    ]
    assert len(operations) == len(set(operations))


@pytest.mark.parametrize("path", ["/models/{name}/predict", "/v2/models/{name}/infer"])
def test_the_documented_example_is_answered(client: httpx.Client, path: str) -> None:
    body = client.get("/openapi.json").json()["paths"][path]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    assert client.post(path.format(name="desk"), json=body).status_code == 200


def test_the_docs_page_fetches_nothing(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "/models/{name}/predict" in page.text
    assert not re.search(r"<(script|link|img|iframe)|https?://(?!127\.0\.0\.1)|@import|url\(", page.text)


def test_the_calibration_tells_what_it_chose_from_what_it_measured(folder: Folder) -> None:
    told: list[object] = []
    build({"desk": Served.open(folder)}, ServeConfig(), watch=told.append)
    (event,) = told
    assert isinstance(event, Calibrated)
    assert event.plan.workers >= 1
    assert {"1 together", "8 together"} <= set(event.plan.measured)
    assert all(rate > 0 for rate in event.plan.measured.values())
    assert "at once" in str(event.plan)


def test_where_everything_is_fixed_nothing_is_measured(folder: Folder) -> None:
    plan = calibrate(Served.open(folder), ServeConfig(threads=1, batch_rows=1)).plan
    assert (plan.threads, plan.batch_rows) == (1, 1)
    assert not plan.measured


def test_a_runtime_whose_calls_take_turns_is_run_by_one_worker_with_all_cores(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxRuntime, "side_by_side", False)
    monkeypatch.setattr("luban.stages.serve.calibrate.cores", lambda: 3)
    served = Served.open(folder)
    running = calibrate(served, ServeConfig(batch_rows=1))
    assert (running.plan.workers, running.plan.threads) == (1, 3)
    assert served.predictor.runtime.session is None  # type: ignore[attr-defined]


class Instant(Runtime):
    """Answers at once, or after ``seconds``."""

    name = "instant"

    def __init__(self, seconds: float) -> None:
        self.seconds, self.closed = seconds, False

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> Instant:
        raise AssertionError("it is made of a duration, never of a folder")

    def run(self, batch: Batch) -> NDArray[np.float32]:
        time.sleep(self.seconds)
        return np.zeros((len(batch["input_ids"]), 3), dtype=np.float32)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("seconds", "chosen"), [(0.0, True), (0.02, False)])
def test_all_cores_answer_a_lone_row_only_where_that_is_measured_as_faster(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, seconds: float, chosen: bool
) -> None:
    run, lone = OnnxRuntime.run, Instant(seconds)

    def slower(self: OnnxRuntime, batch: Batch) -> NDArray[np.float32]:
        time.sleep(0.004)
        return run(self, batch)

    monkeypatch.setattr(OnnxRuntime, "run", slower)
    monkeypatch.setattr(OnnxRuntime, "alone", lambda self, threads: lone)
    monkeypatch.setattr("luban.stages.serve.calibrate.cores", lambda: 2)
    running = calibrate(Served.open(folder), ServeConfig(batch_rows=1))
    assert {"1 thread alone", "2 threads alone"} <= set(running.plan.measured)
    assert (running.alone is not None, running.plan.alone, lone.closed) == (chosen, 2 * chosen, not chosen)
    assert ("2 threads for one that is alone" in str(running.plan)) == chosen


def test_a_model_for_which_batches_do_not_pay_is_asked_row_by_row(folder: Folder) -> None:
    served, runtime = slowed(folder, 0.0)
    inner = runtime.inner

    class Linear(type(runtime)):  # type: ignore[misc]
        """Takes twice as long a row in company."""

        def run(self, batch: object) -> object:
            rows = len(batch["input_ids"])  # type: ignore[index]
            self.seconds = 0.002 * rows * (2 if rows > 1 else 1)
            return super().run(batch)

    served.predictor.runtime = Linear(inner, 0.0)
    assert calibrate(served, ServeConfig()).plan.batch_rows == 1
