"""What reaches a model hub: whether it answers, and a model's safe files; it knows no catalogue and runs nothing.

Only safetensors, JSON and vocabulary files are fetched: a repository that holds its weights as pickles only is refused.
HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are honoured; LUBAN_HUB=modelscope asks ModelScope instead.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from luban.errors import BaseUnavailable, LubanError, MissingExtra

PROBE_SECONDS = 3.0
WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "vocab.txt", "merges.txt", "*.model", "README.md")
UNWANTED = ("*/*",)
"subfolders hold other forms of the same weights"
YES = {"1", "true", "yes", "on"}


class Unreachable(LubanError):
    """No hub answers, or asking one is forbidden; the caller knows what else there is."""


def source() -> str:
    """``huggingface`` or ``modelscope``, as LUBAN_HUB says."""
    return "modelscope" if os.environ.get("LUBAN_HUB", "").lower() == "modelscope" else "huggingface"


def address() -> str:
    """Where the hub is asked for."""
    if source() == "modelscope":
        return os.environ.get("MODELSCOPE_DOMAIN", "https://www.modelscope.cn").rstrip("/")
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def offline() -> bool:
    """Whether HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids to ask."""
    return any(os.environ.get(name, "").lower() in YES for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def reachable(url: str | None = None, *, seconds: float = PROBE_SECONDS) -> bool:
    """Whether the hub answers anything at all within ``seconds``, name lookup included; proxies are honoured."""
    if offline():
        return False
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(_answers(url or address(), seconds)), daemon=True)
    asking.start()
    asking.join(seconds)  # a name lookup has no time limit of its own, so the thread is left behind
    return bool(answers and answers[0])


def cached(repository: str, revision: str | None = None) -> Path | None:
    """The repository's whole snapshot on this machine, or None."""
    if source() == "modelscope":
        root = Path(os.environ.get("MODELSCOPE_CACHE", Path.home() / ".cache/modelscope/hub")) / "models" / repository
        return root if whole(root) else None
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                repository,
                revision=revision,
                local_files_only=True,
                allow_patterns=list(WANTED),
                ignore_patterns=list(UNWANTED),
            )
        )
    except (OSError, ValueError):
        return None
    return folder if whole(folder) else None


def reads(names: Iterable[str]) -> bool:
    """Whether a base of these files can read rows: texts, by a fast tokenizer, or pictures, by an image processor."""
    return not {"tokenizer.json", "preprocessor_config.json"}.isdisjoint(names)


def whole(folder: Path) -> bool:
    """Whether a folder holds a configuration, what reads its rows, and all its weights in safetensors."""
    if not (folder / "config.json").is_file() or not reads(child.name for child in folder.iterdir()):
        return False
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return any(folder.glob("*.safetensors"))
    shards = set(json.loads(index.read_text(encoding="utf8"))["weight_map"].values())
    return all((folder / shard).is_file() for shard in shards)


def fetch(repository: str, revision: str | None = None) -> Path:
    """The repository's files, fetched where they are not here yet.

    Raises `Unreachable` where no hub answers within `PROBE_SECONDS`, `BaseUnavailable` where the hub has no such model
    or no weights that are safe to load, `MissingExtra` where ModelScope is asked for and not installed.
    """
    folder = cached(repository, revision)
    if folder is not None:
        return folder
    if not reachable():
        raise Unreachable(
            "HF_HUB_OFFLINE forbids to ask a model hub." if offline() else f"The model hub {address()} does not answer."
        )
    return _from_modelscope(repository, revision) if source() == "modelscope" else _from_hub(repository, revision)


def _answers(url: str, seconds: float) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError:
        return True  # it said no to the question, but it is there
    except (OSError, ValueError):
        return False
    return True


def _from_hub(repository: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        info = HfApi(endpoint=address()).model_info(repository, revision=revision, timeout=10)
        names = [file.rfilename for file in info.siblings or []]
        refuse_unsafe(repository, names)
        folder = snapshot_download(
            repository,
            revision=revision,  # by name, so that the cache knows later which commit the name means
            endpoint=address(),
            allow_patterns=list(WANTED),
            ignore_patterns=list(UNWANTED),
        )
        return Path(folder)
    except (OSError, ValueError, HTTPError) as error:
        raise _not_fetched(repository, error) from error


def _from_modelscope(repository: str, revision: str | None) -> Path:
    try:
        from modelscope import snapshot_download
    except ModuleNotFoundError as missing:
        raise MissingExtra("ModelScope (LUBAN_HUB=modelscope)", "modelscope") from missing
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(WANTED)))
    except (OSError, ValueError) as error:
        raise _not_fetched(repository, error) from error
    refuse_unsafe(repository, [file.name for file in folder.iterdir()])
    return folder


def refuse_unsafe(repository: str, names: list[str]) -> None:
    """Raises `BaseUnavailable` unless the file ``names`` of a repository hold safetensors and what `reads` rows."""
    here = [name for name in names if "/" not in name]
    if not any(name.endswith(".safetensors") for name in here):
        pickles = [name for name in here if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5"))]
        raise BaseUnavailable(
            f"{repository} has no weights in safetensors" + (f", only {', '.join(pickles)}." if pickles else "."),
            "Pickled weights can run code when they are opened, so luban does not load them.",
            "Choose another base (`luban models`), or convert it once where you trust it: "
            "AutoModel.from_pretrained(NAME).save_pretrained(DIR), then give DIR as the base.",
        )
    if not reads(here):
        raise BaseUnavailable(
            f"{repository} has no tokenizer.json.",
            "luban reads tokenizers in their fast form.",
            "Make it once: AutoTokenizer.from_pretrained(NAME).save_pretrained(DIR) beside the weights, and give DIR.",
        )


def _not_fetched(repository: str, error: Exception) -> BaseUnavailable:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return BaseUnavailable(
        f"{repository} could not be fetched from {address()} ({reason[:200]}).",
        "A public model, or one that HF_TOKEN may read, is expected.",
        "Check the name, and your access if the model is gated.",
    )
