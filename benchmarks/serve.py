"""Requests a second of luban's server, of the tutorial's, and of the bare onnxruntime call, alternated in one run.

    python benchmarks/serve.py [--quick] [--data DIR] [--json] [--model ONNX_DIR --torch PYTORCH_DIR]

The tutorial's server is FastAPI around ``model(**tokenizer(text))`` in fp32 with PyTorch's own settings. The bare call
is tokenise, ``session.run`` and softmax in a loop of one process, with one thread, with all, and with all spinning as
onnxruntime does by default; the best of them counts. The model is minilm with Banking77's 77 classes, the texts are its
test questions. Servers, bare loop and client are processes of their own on the same cores. Ratios are
medians over rounds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
CLIENTS = (1, 8, 64)
BARE = ("1", "all", "spin")


def main() -> None:
    options = arguments()
    if options.role:
        ROLES[options.role](options)
        return
    with tempfile.TemporaryDirectory() as scratch:
        onnx, torch = folders(options, Path(scratch))
        rows = compare(options, onnx, torch)
    cores = len(os.sched_getaffinity(0))
    machine = {
        "processor": processor(),
        "cores": cores,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }
    if options.json:
        json.dump({"machine": machine, "rows": rows}, sys.stdout)
        return
    print(machine)
    for row in rows:
        ratio = f"{row['ratio']:8.2f} x {row['against']}" if row["ratio"] is not None else ""
        print(f"{row['what']:<44}{row['value']:>10.2f} {row['unit']:<12}{ratio}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", default=str(REPO.parent / "shared" / "data"))
    parser.add_argument("--model", help="an ONNX folder, instead of one made here")
    parser.add_argument("--torch", help="the PyTorch folder that --model was exported from")
    for hidden in ("--role", "--clients", "--port", "--seconds", "--path"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser.parse_args()


def folders(options: argparse.Namespace, scratch: Path) -> tuple[str, str]:
    """The ONNX folder and the PyTorch folder it comes from; made with a short training where none is named."""
    if options.model:
        return options.model, options.torch or options.model
    from luban import bases
    from luban.config import ExportConfig, PrepareConfig, TrainConfig
    from luban.stages.export import export
    from luban.stages.prepare import prepare
    from luban.stages.train import train
    from luban.tasks import TASKS

    source = Path(options.data) / "intent-en-banking77" / "train.csv"
    task = TASKS["text-classification"]
    data = prepare(PrepareConfig(source=str(source), columns={"label": "category"}), task)
    config = TrainConfig(task=task.name, epochs=0.05, probe=False, log=())  # the weights' values cost no time
    folder = train(data, bases.find("minilm"), config, scratch / "torch", name="banking77")
    settings = ExportConfig(quantise="int8", max_flips=1.0)  # a head that has hardly learnt is undecided, so it flips
    exported = export(folder, data.valid, settings, scratch / "onnx")
    return str(exported.path), str(folder.path)


def compare(options: argparse.Namespace, onnx: str, torch: str) -> list[dict[str, Any]]:
    """Alternate bursts of all contestants, and sum them up."""
    rounds, seconds = (2, 1.5) if options.quick else (7, 3.0)
    luban = Server("luban", onnx, options.data)
    tutorial = Server("tutorial", torch, options.data)
    bare = Child("bare", ["--path", onnx, "--data", options.data])
    bare.line()
    rows = []
    try:
        for clients in CLIENTS:
            burst(luban, clients, 0.5, options.data), burst(tutorial, clients, 0.5, options.data)
            seen: dict[str, list[dict[str, float]]] = {
                "luban": [],
                "tutorial": [],
                **{f"bare {way}": [] for way in BARE},
            }
            for _ in range(rounds):
                for server in (tutorial, luban):
                    seen[server.name].append(burst(server, clients, seconds, options.data))
                for way in BARE:
                    rate, work = map(float, bare.ask(f"{way} {seconds / 3}").split())
                    seen[f"bare {way}"].append({"rate": rate, "cpu": work})
            rows += summed(clients, seen)
        rows += [
            result("start-up", luban.seconds, "s", tutorial.seconds),
            result("memory", luban.memory(), "MiB", tutorial.memory()),
        ]
    finally:
        for child in (luban, tutorial, bare):
            child.end()
    return rows


def summed(clients: int, seen: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    def median(name: str, key: str) -> float:
        return statistics.median(burst[key] for burst in seen[name])

    def ratio(name: str, against: str, key: str = "rate") -> float:
        return statistics.median(a[key] / b[key] for a, b in zip(seen[name], seen[against], strict=True))

    best = max((f"bare {way}" for way in BARE), key=lambda name: median(name, "rate"))
    rows = [
        {"what": f"luban, {clients} clients", "value": median("luban", "rate"), "unit": "requests/s",
         "ratio": ratio("luban", "tutorial"), "against": "tutorial"},
        {"what": f"luban, {clients} clients, to the bare call", "value": median("luban", "rate"), "unit": "requests/s",
         "ratio": ratio("luban", best), "against": best},
    ]  # fmt: skip
    rows += [
        {"what": f"luban, {clients} clients, {key}", "value": median("luban", key), "unit": "ms",
         "ratio": ratio("luban", "tutorial", key), "against": "tutorial"}
        for key in ("p50", "p99")
    ]  # fmt: skip
    rows += [
        {"what": f"luban, {clients} clients, processor time", "value": median("luban", "cpu"), "unit": "ms/request",
         "ratio": ratio("luban", against, "cpu"), "against": against}
        for against in ("tutorial", "bare 1")
    ]  # fmt: skip
    others = [
        {
            "what": f"{name}, {clients} clients",
            "value": median(name, "rate"),
            "unit": "rows/s",
            "ratio": None,
            "against": None,
        }
        for name in ("tutorial", *(f"bare {way}" for way in BARE))
    ]
    refused = sum(burst["refused"] for burst in seen["luban"])
    return [
        *rows,
        *others,
        {
            "what": f"luban, {clients} clients, not answered",
            "value": refused,
            "unit": "requests",
            "ratio": None,
            "against": None,
        },
    ]


def result(what: str, value: float, unit: str, other: float) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "ratio": value / other, "against": "tutorial"}


class Child:
    """This script in another role, spoken to by lines."""

    def __init__(self, role: str, words: list[str]) -> None:
        env = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
        env["PYTHONPATH"] = os.pathsep.join([str(REPO / "src"), env.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--role", role, *words],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a child process ended early; its error stands above")
        return line.strip()

    def ask(self, words: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        return self.line()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class Server(Child):
    """A server in a process of its own; ``seconds`` it took until it answered."""

    def __init__(self, name: str, path: str, data: str) -> None:
        started = time.perf_counter()
        self.name = name
        super().__init__(name, ["--path", path, "--data", data])
        self.port = int(self.line())
        burst(self, 1, 0.05, data)
        self.seconds = time.perf_counter() - started

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def burst(server: Server, clients: int, seconds: float, data: str) -> dict[str, float]:
    """A client process' figures: requests a second, latencies in ms."""
    words = ["--port", str(server.port), "--clients", str(clients), "--seconds", str(seconds), "--data", data]
    child = Child("client", [*words, "--path", "/models/bank/predict"])
    before = server.cpu()
    figures: dict[str, float] = json.loads(child.line())
    child.process.wait()
    return figures | {"cpu": (server.cpu() - before) * 1e3 / figures["count"]}


def texts(data: str) -> list[str]:
    with (Path(data) / "intent-en-banking77" / "test.csv").open(encoding="utf8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)][::7]


def role_client(options: argparse.Namespace) -> None:
    """Keep-alive connections that each send the next text as soon as they have an answer; sockets and nothing else."""
    address = ("127.0.0.1", int(options.port))
    requests = [request(options.path, text) for text in texts(options.data)]
    selector, sent = selectors.DefaultSelector(), {}
    following = cycled(requests)
    for _ in range(int(options.clients)):
        sock = socket.create_connection(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ, bytearray())
        sent[sock] = time.perf_counter()
        sock.sendall(next(following))
    took: list[float] = []
    refused, started = 0, time.perf_counter()
    end, now = started + float(options.seconds), started
    while now < end or not took:
        for key, _ in selector.select(1.0):
            sock, buffer = key.fileobj, key.data
            buffer += sock.recv(65536)  # type: ignore[union-attr]
            now = time.perf_counter()
            if not whole(buffer):
                continue
            took.append(now - sent[sock])
            refused += not buffer.startswith(b"HTTP/1.1 200")
            buffer.clear()
            sent[sock] = now
            sock.sendall(next(following))  # type: ignore[union-attr]
    took.sort()
    figures = {"rate": (len(took) - refused) / (now - started), "refused": refused, "count": len(took)}
    print(json.dumps(figures | {f"p{p}": took[len(took) * p // 100] * 1e3 for p in (50, 99)}))


def request(path: str, text: str) -> bytes:
    body = json.dumps({"text": text}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def cycled(items: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from items


def whole(buffer: bytearray) -> bool:
    """Whether a response with a content-length is complete."""
    head = buffer.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = buffer.find(b"content-length: ") + 16
    return len(buffer) >= head + 4 + int(buffer[at : buffer.find(b"\r", at)])


def role_luban(options: argparse.Namespace) -> None:
    from luban.config import ServeConfig
    from luban.stages.serve import Served, serve

    def ready(url: str) -> None:
        print(url.rsplit(":", 1)[1], flush=True)

    serve(
        {"bank": Served.open(options.path)},
        ServeConfig(port=0),
        ready=ready,
        watch=lambda event: print(event, file=sys.stderr),
    )


def role_tutorial(options: argparse.Namespace) -> None:
    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.path)
    model = AutoModelForSequenceClassification.from_pretrained(options.path).eval()
    app = FastAPI()

    class Asked(BaseModel):
        text: str

    def predict(asked: Asked) -> dict[str, Any]:
        inputs = tokenizer(asked.text, return_tensors="pt", truncation=True)
        with torch.no_grad():
            scores = torch.softmax(model(**inputs).logits, dim=-1)[0]
        best = int(scores.argmax())
        return {"label": model.config.id2label[best], "score": float(scores[best]), "scores": scores.tolist()}

    predict.__annotations__["asked"] = Asked
    app.post("/models/bank/predict")(predict)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.bind(("127.0.0.1", 0))
        print(sock.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[sock])


def role_bare(options: argparse.Namespace) -> None:
    """Reads "WAY SECONDS", answers rows a second."""
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(options.path) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    sessions = {}
    for way in BARE:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1 if way == "1" else len(os.sched_getaffinity(0))
        settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if way == "spin" else "0")
        sessions[way] = onnxruntime.InferenceSession(str(Path(options.path) / "model.onnx"), settings)
    names = [entry.name for entry in sessions["1"].get_inputs()]
    asked = texts(options.data)
    print("ready", flush=True)
    for line in sys.stdin:
        way, seconds = line.split()
        session, done, started, worked = sessions[way], 0, time.perf_counter(), time.process_time()
        while time.perf_counter() < started + float(seconds):
            ids = np.array([tokenizer.encode(asked[done % len(asked)]).ids], dtype=np.int64)
            feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            logits = session.run(None, {name: feed[name] for name in names})[0][0]
            powers = np.exp(logits - logits.max())
            powers / powers.sum()
            done += 1
        print(done / (time.perf_counter() - started), (time.process_time() - worked) * 1e3 / done, flush=True)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


ROLES = {"client": role_client, "luban": role_luban, "tutorial": role_tutorial, "bare": role_bare}

if __name__ == "__main__":
    main()
