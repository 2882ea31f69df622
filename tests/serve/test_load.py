"""Many requests at once: full queues, company in batches, broken models, and going away without losing anyone."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest

from luban.config import ServeConfig
from luban.errors import ConfigError, MissingExtra, ServiceError
from luban.folder import Folder
from luban.records import Evidence
from luban.stages.serve import Served, build, serve
from luban.stages.serve.calibrate import Plan, Running
from luban.stages.serve.engine import Engine
from luban.stages.serve.metrics import Metrics
from luban.stages.serve.run import listen
from tests.serve.conftest import Start, serving, words_by_length
from tests.serve.models import slowed

PREDICT = "/models/desk/predict"


def until(holds: object, seconds: float = 5.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def many(client: httpx.Client, bodies: list[dict[str, object]]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: client.post(PREDICT, json=body), bodies))


def test_concurrent_requests_each_get_their_own_answer(client: httpx.Client) -> None:
    texts = {"where is my order": "delivery", "i lost my card please": "card", "refund": "refund"}
    asked = list(texts) * 16
    replies = many(client, [{"text": text} for text in asked])
    assert [reply.json()["predictions"][0]["label"] for reply in replies] == [texts[text] for text in asked]


def test_rows_of_equal_length_that_wait_go_together_and_others_do_not(folder: Folder) -> None:
    served, runtime = slowed(folder, 0.0)
    with serving({"desk": served}, batch_rows=4) as client:
        engine = client.service.models["desk"].engine  # type: ignore[attr-defined]
        engine.plan = type(engine.plan)(1, engine.plan.workers, 4)
        served.predictor.max_rows = 4
        runtime.batches.clear()
        runtime.gate.clear()
        body = {"inputs": ["card card"] * engine.plan.workers + ["card", "refund", "lost card", "order", "i"]}
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(client.post, PREDICT, json=body)
            until(lambda: runtime.batches)
            runtime.gate.set()
            labels = [answer["label"] for answer in reply.result().json()["predictions"]]
    assert labels[-5:-1] == ["card", "refund", "card", "delivery"]
    assert Counter(length for _, length in runtime.batches).keys() == {3, 4}
    assert max(rows for rows, _ in runtime.batches) >= 3


def test_a_full_queue_answers_429_and_says_when_to_return(folder: Folder) -> None:
    served, runtime = slowed(folder, 0.0)
    with serving({"desk": served}, queue=2, batch_rows=1) as client:
        runtime.gate.clear()
        engine = client.service.models["desk"].engine  # type: ignore[attr-defined]
        runtime.batches.clear()
        with ThreadPoolExecutor(2) as pool:
            taken = [pool.submit(client.post, PREDICT, json={"inputs": ["card"] * 8}) for _ in range(2)]
            until(lambda: engine.unfinished == 2)
            until(lambda: runtime.batches)
            refused = client.post(PREDICT, json={"text": "card"})
            runtime.gate.set()
            statuses = {reply.result().status_code for reply in taken}
        assert client.post(PREDICT, json={"text": "card"}).status_code == 200
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert "queue is full" in refused.json()["error"]["happened"]
    assert statuses == {200}


def test_rows_of_a_request_that_was_given_up_are_skipped(folder: Folder) -> None:
    served, runtime = slowed(folder, 0.0)
    service = build({"desk": served}, ServeConfig(threads=1, batch_rows=1)).state.service
    engine = service.models["desk"].engine
    runtime.batches.clear()
    runtime.gate.clear()

    async def given_up() -> None:
        asked = asyncio.create_task(engine.ask([{"text": "card"}] * 40))
        while not runtime.batches:
            await asyncio.sleep(0.005)
        asked.cancel()
        with suppress(asyncio.CancelledError):
            await asked
        runtime.gate.set()
        await engine.ask([{"text": "card"}])

    asyncio.run(given_up())
    service.close()
    assert engine.unfinished == 0
    assert len(runtime.batches) <= 2 * engine.plan.workers + 1


def test_a_request_whose_client_went_away_while_it_waited_is_not_computed(folder: Folder) -> None:
    served, runtime = slowed(folder, 0.0)
    with serving({"desk": served}) as client:
        engine = client.service.models["desk"].engine  # type: ignore[attr-defined]
        runtime.batches.clear()
        runtime.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.post, PREDICT, json={"inputs": ["card"] * engine.plan.workers})
            until(lambda: len(runtime.batches) == engine.plan.workers)
            with socket.create_connection((client.base_url.host, client.base_url.port)) as sock:
                sock.sendall(
                    f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: 25\r\n\r\n".encode()
                    + b'{"text":"card card card"}'
                )
                until(lambda: engine.unfinished == 2)
            until(lambda: engine.unfinished == 1)
            runtime.gate.set()
            assert first.result().status_code == 200
        assert client.post(PREDICT, json={"text": "card card"}).status_code == 200
        told = client.get("/metrics").text
    assert {length for _, length in runtime.batches} == {3, 4}
    assert 'luban_rejects_total{model="desk",reason="gone"} 1.0' in told


def test_an_explanation_whose_client_went_away_is_not_begun(folder: Folder) -> None:
    begun, gate = [], threading.Event()

    def slow(value: object, target: str | None) -> Evidence:
        begun.append(target)
        gate.wait(10)
        return words_by_length(value, target)

    with serving({"desk": Served.open(folder, explain=slow)}) as client, ThreadPoolExecutor(1) as pool:
        live = client.service.models["desk"]  # type: ignore[attr-defined]
        explain = "/models/desk/explain"
        first = pool.submit(client.post, explain, json={"text": "card", "target": "first"})
        until(lambda: begun)
        with suppress(httpx.ReadTimeout):
            httpx.post(f"{client.base_url}{explain}", json={"text": "card", "target": "second"}, timeout=0.3)
        until(lambda: live.explaining == 1)
        gate.set()
        assert first.result().status_code == 200
        assert client.post(explain, json={"text": "card", "target": "third"}).status_code == 200
    assert begun == ["first", "third"]


def test_only_a_row_that_is_alone_goes_to_the_predictor_for_lone_rows(folder: Folder) -> None:
    served, usual = slowed(folder, 0.0)
    hurried, lone = slowed(folder, 0.0)
    running = Running(
        served.predictor, Plan(1, 2, 1, alone=2), served.predictor.predict(["card"])[0], hurried.predictor
    )
    usual.batches.clear()

    async def ask() -> None:
        engine = Engine(running, Metrics().of("desk"), queue=99, tokens=99)
        lone.gate.clear()
        first = asyncio.create_task(engine.ask([{"text": "card"}]))
        while not lone.batches:
            await asyncio.sleep(0.005)
        await engine.ask([{"text": "card card"}])
        lone.gate.set()
        await first
        await engine.ask([{"text": "card card card"}])
        engine.close()

    asyncio.run(ask())
    assert [length for _, length in lone.batches] == [3, 5]
    assert [length for _, length in usual.batches] == [4]


def test_a_long_text_is_not_explained(client: httpx.Client) -> None:
    assert client.post("/models/desk/explain", json={"text": "card " * 400}).status_code == 200
    refused = client.post("/models/desk/explain", json={"text": "card " * 401})
    assert refused.status_code == 413
    assert "--max-explain" in refused.json()["error"]["remedy"]


def test_an_explanation_that_goes_on_does_not_keep_the_process() -> None:
    code = "import asyncio, time; from luban.stages.serve.aside import Aside; aside = Aside()\n"
    code += "async def ask():\n    await asyncio.wait_for(aside.run(time.sleep, 60), 0.1)\n"
    code += "try:\n    asyncio.run(ask())\nexcept TimeoutError:\n    aside.close()"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0


@pytest.mark.parametrize("name", ["a/b", "a?b", "a#b", "50%", "..", ""])
def test_a_name_that_no_url_can_hold_is_refused(folder: Folder, name: str) -> None:
    opened = Served.open(folder)
    with pytest.raises(ConfigError, match="cannot be named"):
        replace(opened, name=name)


def test_a_model_that_breaks_answers_500_and_the_next_request_is_served(folder: Folder) -> None:
    served, runtime = slowed(folder, 0.0)
    with serving({"desk": served}) as client:
        runtime.fail = True
        broken = client.post(PREDICT, json={"text": "card"})
        runtime.fail = False
        mended = client.post(PREDICT, json={"text": "card"})
    assert (broken.status_code, mended.status_code) == (500, 200)
    assert broken.json()["error"]["happened"] == "The model failed on this request."


def test_a_body_is_counted_while_it_streams(client: httpx.Client) -> None:
    def parts() -> object:
        for _ in range(100):
            yield b" " * 1000

    assert client.post(PREDICT, content=parts()).status_code == 413  # type: ignore[arg-type]


def test_a_body_that_does_not_come_is_given_up(folder: Folder) -> None:
    with serving({"desk": Served.open(folder)}) as client:
        service = client.service  # type: ignore[attr-defined]
        service.limits = type(service.limits)(20_000, 16, 5_000, seconds=0.2)
        with socket.create_connection((client.base_url.host, client.base_url.port)) as sock:
            sock.sendall(f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: 30\r\n\r\n".encode() + b'{"text":')
            assert sock.recv(100).startswith(b"HTTP/1.1 408")


def test_a_client_that_hangs_up_harms_nobody(folder: Folder) -> None:
    served, _ = slowed(folder, 0.02)
    with serving({"desk": served}) as client:
        for _ in range(8):
            with socket.create_connection((client.base_url.host, client.base_url.port)) as sock:
                sock.sendall(
                    f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: 15\r\n\r\n".encode() + b'{"text":"card"}'
                )
        assert client.post(PREDICT, json={"text": "card"}).status_code == 200
        until(lambda: client.service.flow.in_flight == 0)  # type: ignore[attr-defined]


def test_health_answers_while_the_model_is_busy(folder: Folder) -> None:
    served, runtime = slowed(folder, 0.0)
    with serving({"desk": served}) as client:
        runtime.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(client.post, PREDICT, json={"text": "card"})
            assert client.get("/v2/health/live").status_code == 200
            assert client.get("/health").json()["status"] == "ready"
            runtime.gate.set()
            assert reply.result().status_code == 200


def test_sigterm_under_load_loses_no_request_that_was_taken(start: Start) -> None:
    process = start(seconds=0.01)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    statuses: Counter[object] = Counter()
    lock = threading.Lock()

    def load() -> None:
        with httpx.Client(base_url=url, timeout=10) as client:
            while True:
                try:
                    status: object = client.post(PREDICT, json={"text": "card"}).status_code
                except httpx.ConnectError:
                    return
                except httpx.HTTPError as error:
                    status = type(error).__name__
                with lock:
                    statuses[status] += 1
                if status != 200:
                    return

    threads = [threading.Thread(target=load) for _ in range(12)]
    for thread in threads:
        thread.start()
    until(lambda: statuses[200] >= 40)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(10)
    assert process.wait(10) == 0
    assert set(statuses) <= {200, 503}
    assert statuses[503] >= 1


def test_while_draining_new_requests_get_503_and_running_ones_their_answer(start: Start) -> None:
    process = start(seconds=0.6)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=url, timeout=10) as client:
        running = pool.submit(httpx.post, url + PREDICT, json={"text": "card"}, timeout=10)
        until(lambda: 'in_flight_requests{model="desk"} 1.0' in client.get("/metrics").text)
        process.send_signal(signal.SIGTERM)
        until(lambda: client.get("/v2/health/ready").status_code == 503)
        late = client.post(PREDICT, json={"text": "card"})
        assert late.status_code == 503
        assert late.headers["retry-after"]
        assert running.result().status_code == 200
    assert process.wait(10) == 0


def test_serving_an_onnx_folder_never_imports_torch(start: Start) -> None:
    process = start()
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert httpx.post(url + PREDICT, json={"text": "card"}).status_code == 200
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    assert process.stdout.read().strip() == "heavy: []"


def test_a_port_in_use_is_one_sentence_and_exit_code_2(start: Start) -> None:
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        sock.listen()
        process = start(port=port)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 2
    assert f"Port {port} of 127.0.0.1 is in use." in error
    assert "Traceback" not in error


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", "127.evil.org"])
def test_an_address_that_others_can_reach_is_refused(folder: Folder, host: str) -> None:
    with pytest.raises(ConfigError, match="access control"):
        serve({"desk": Served.open(folder)}, ServeConfig(host=host, port=0))


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(ServiceError, match="Cannot listen"):
        listen("203.0.113.1", 0)


def test_the_socket_names_its_protocol_so_that_asyncio_sends_small_replies_at_once() -> None:
    with listen("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP


def test_the_oldest_row_goes_first_whatever_waits(folder: Folder) -> None:
    served, runtime = slowed(folder, 0.0)

    async def order() -> list[int]:
        sample = served.predictor.predict(["card"])[0]
        running = Running(served.predictor, Plan(1, 1, 2), sample)
        runtime.batches.clear()
        engine = Engine(running, Metrics().of("desk"), queue=99, tokens=99)
        runtime.gate.clear()
        first = asyncio.create_task(engine.ask([{"text": "card"}]))
        while not runtime.batches:
            await asyncio.sleep(0.005)
        rest = [asyncio.create_task(engine.ask([{"text": "i " * n}])) for n in (5, 2, 2, 3, 2, 5, 3)]
        await asyncio.sleep(0.05)
        runtime.gate.set()
        await asyncio.gather(first, *rest)
        engine.close()
        return [length - 2 for _, length in runtime.batches]

    assert asyncio.run(order()) == [1, 5, 2, 3, 2]


def test_a_body_that_drips_is_given_up(folder: Folder) -> None:
    with serving({"desk": Served.open(folder)}) as client:
        service = client.service  # type: ignore[attr-defined]
        service.limits = type(service.limits)(20_000, 16, 5_000, seconds=0.3)

        def drops() -> Iterator[bytes]:
            for _ in range(50):
                yield b" "
                time.sleep(0.1)

        with suppress(httpx.WriteError):  # the server may hang up while the client still drips
            assert client.post(PREDICT, content=drops()).status_code == 408
        until(lambda: service.flow.in_flight == 0)


def test_what_the_server_lacks_is_not_called_the_request_s_fault(folder: Folder) -> None:
    def without_captum(value: object, target: str | None) -> Evidence:
        raise MissingExtra("Integrated gradients", "explain")

    with serving({"desk": Served.open(folder, explain=without_captum)}) as client:
        answer = client.post("/models/desk/explain", json={"text": "card"})
    assert answer.status_code == 500
    assert "pip install captum" in answer.json()["error"]["remedy"]
