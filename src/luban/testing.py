"""For tests, ours and yours: tiny real models, and the contracts that every task and every runtime must keep.

    class TestMyTask(TaskContract):
        task = MyTask
        rows = [{"text": "...", "label": "..."}, ...]      # raw records, two labels or more

Nothing here is a mock: a tiny model is a real BERT with a real tokenizer, only small and untrained.
"""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from luban import bases
from luban.config import TrainConfig
from luban.encoding import Encoded, TextEncoder, collate
from luban.fakes import FakeChat as FakeChat  # a chat model for tests, shipped with the rest
from luban.folder import Folder, write, write_golden
from luban.manifest import BaseInfo, CalibrationInfo, Manifest
from luban.pictures import SETTINGS, PictureEncoder
from luban.predict import Predictor, check_golden, make_golden
from luban.records import Prediction, texts
from luban.runtimes import RUNTIMES
from luban.runtimes.base import Runtime
from luban.tasks import TASKS
from luban.tasks.base import Task
from luban.tiny import TINY_SIGHT, tiny_tokenizer, tiny_writer
from luban.tiny import tiny_base as tiny_base
from luban.tiny import tiny_fused as tiny_fused
from luban.tiny import tiny_sight as tiny_sight
from luban.tiny import tiny_translator as tiny_translator

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAIA"
DISC = f"{PNG}QMAAAD+wSzIAAAABlBMVEX6yBQUKFravP2OAAAAGElEQVR42mP4z/SC6Q6zAhMDw2GG5wz/AS1CBZYNM067AAAAAElFTkSuQmCC"
BAR = f"{PNG}QMAAAD+wSzIAAAABlBMVEXm5vAeoDzTWCucAAAADUlEQVR42mOQYGJAhgAB6AAn5B6zhgAAAABJRU5ErkJggg=="
"what the four sample pictures, of 8 x 8 pixels, begin with"

SAMPLES: dict[str, list[dict[str, Any]]] = {
    "text-classification": [
        {"text": "where is my order", "label": "order"},
        {"text": "i want my money back", "label": "refund"},
        {"text": "订单什么时候到", "label": "order"},
        {"text": "请给我退款", "label": "refund"},
    ],
    "multi-label-classification": [
        {"text": "good food, bad city", "labels": ["food", "city"]},
        {"text": "great movie", "labels": ["film"]},
        {"text": "电影很好，吃的不好", "labels": ["film", "food"]},
        {"text": "hello", "labels": []},
    ],
    "text-regression": [
        {"text": "i love it", "label": 5.0},
        {"text": "awful", "label": 1.0},
        {"text": "很喜欢", "label": 4.5},
        {"text": "not good", "label": 2.0},
    ],
    "text-pair": [
        {"text": "where is my order", "text_pair": "when is my order", "label": "same"},
        {"text": "i love this film", "text_pair": "cancel my card", "label": "other"},
        {"text": "我要退款", "text_pair": "请给我退款", "label": "same"},
        {"text": "北京在哪里", "text_pair": "我喜欢电影", "label": "other"},
    ],
    "token-classification": [
        {"tokens": ["alice", "was", "in", "paris"], "tags": ["B-PER", "O", "O", "B-LOC"]},
        {"tokens": ["hello", "bob"], "tags": ["O", "B-PER"]},
        {
            "text": "小明在北京",
            "entities": [{"start": 0, "end": 2, "label": "PER"}, {"start": 3, "end": 5, "label": "LOC"}],
        },
        {"text": "we love london!", "entities": [{"start": 8, "end": 14, "label": "LOC"}]},
    ],
    "embedding": [
        {"text": "where is my order", "text_pair": "your order is late", "negatives": ["cancel the card"]},
        {"text": "i want my money back", "text_pair": "refund and pay"},
        {"text": "订单什么时候到", "text_pair": "快递今天到", "negatives": []},
        {"text": "电影好不好", "text_pair": "很喜欢电影"},
    ],
    "rerank": [
        {
            "text": "where is my order",
            "text_pair": "your order is late",
            "negatives": ["cancel the card", "great film"],
        },
        {"text": "i want my money back", "text_pair": "refund and pay", "negatives": ["hello bob"]},
        {"text": "订单什么时候到", "text_pair": "快递今天到", "negatives": ["很喜欢电影"]},
        {"text": "电影好不好", "text_pair": "很喜欢电影", "negatives": ["快递今天到"]},
    ],
    "recommendation": [
        {"text": "i love great food", "item": "good food"},
        {"text": "what movie is good", "item": "great film"},
        {"text": "我喜欢吃", "item": "吃的"},
        {"text": "电影好不好", "item": "电影"},
    ],
    "intent-and-slots": [
        {"tokens": ["hello", "bob"], "tags": ["O", "B-PER"], "label": "greet"},
        {"tokens": ["when", "is", "alice", "in", "paris"], "tags": ["O", "O", "B-PER", "O", "B-LOC"], "label": "ask"},
        {"text": "小明在哪里", "entities": [{"start": 0, "end": 2, "label": "PER"}], "label": "ask"},
        {"text": "北京你好", "entities": [{"start": 0, "end": 2, "label": "LOC"}], "label": "greet"},
    ],
    "multi-task": [
        {"text": "where is my order", "targets": {"intent": "order", "stars": 2.0, "topics": ["food", "city"]}},
        {"text": "i want my money back", "targets": {"intent": "refund", "stars": None, "topics": ["film"]}},
        {"text": "订单什么时候到", "targets": {"intent": "order", "topics": None}},
        {"text": "很喜欢", "targets": {"intent": None, "stars": 5.0, "topics": []}},
    ],
    "extractive-qa": [
        {
            "question": "where is alice?",
            "context": "hello! alice was in paris and bob in london.",
            "answers": [{"text": "in paris", "start": 17}],
        },
        {"question": "when is my card late?", "context": "i love this film", "answers": []},
        {
            "question": "小明在哪里？",
            "context": "你好，小明在北京吃",
            "answers": {"text": ["北京"], "answer_start": [6]},
        },
        {"question": "how is the food?", "context": "the food was not good", "answers": "not good"},
    ],
    "text-generation": [
        {"text": "where is my order? ", "target": "it is late."},
        {"text": "hello, ", "target": "hello bob!"},
        {"text": "订单什么时候到？", "target": "今天到。"},
        {"text": "你好，", "target": "你好吗？"},
    ],
    "text-to-text": [
        {"text": "where is my order?", "target": "it is late."},
        {"text": "hello, bob", "target": "hello!"},
        {"text": "订单什么时候到？", "target": "今天到。"},
        {"text": "你好，小明", "target": "你好吗？"},
    ],
    "image-classification": [
        {
            "image": DISC,
            "label": "disc",
        },
        {
            "image": f"{PNG}QMAAAD+wSzIAAAABlBMVEX6yBQUKFravP2OAAAAGElEQVR42mP4z8zB9IeJg"
            "YmB4TjDfyYGACGHA9Xg3kGZAAAAAElFTkSuQmCC",
            "label": "disc",
        },
        {
            "image": BAR,
            "label": "bar",
        },
        {
            "image": f"{PNG}QMAAAD+wSzIAAAABlBMVEXm5vAeoDzTWCucAAAADUlEQVR42mOwYGJAhgADyABHdLVfZQAAAABJRU5ErkJggg==",
            "label": "bar",
        },
    ],
    "multimodal-classification": [
        {"text": "i love great food", "image": DISC, "number:price": 3.5, "category:brand": "north", "label": "good"},
        {"text": "电影很好", "image": None, "number:price": "2", "category:brand": "north", "label": "good"},
        {"text": None, "image": BAR, "number:price": 40, "category:brand": "", "label": "bad"},
        {"text": "不好", "image": BAR, "number:price": "", "category:brand": "south", "label": "bad"},
    ],
}
"a few raw records a task, in English and Chinese"


def base_for(task: str, path: Path, *, seed: int = 7) -> Path:
    """The tiny base that reads the rows of a task."""
    if TASKS[task].generates:
        return tiny_translator(path, seed=seed) if TASKS[task].crosses else tiny_writer(path, seed=seed)
    if TASKS[task].fuses:
        return tiny_fused(path, seed=seed)
    return tiny_sight(path, seed=seed) if TASKS[task].sees else tiny_base(path, seed=seed)


def tiny_folder(
    path: Path, task: str = "text-classification", rows: Sequence[dict[str, Any]] | None = None, *, seed: int = 7
) -> Folder:
    """A whole, valid model folder (runtime pytorch) around an untrained tiny model; ``rows`` are raw records."""
    import torch

    from luban.runtimes.pytorch import PyTorchRuntime, quiet

    kind: type[Task] = TASKS[task]
    parsed = [kind.parse(row) for row in rows or SAMPLES[task]]
    base = base_for(task, path.parent / f"{path.name}-base", seed=seed)
    fitted = kind.fit(parsed)
    if kind.generates:
        fitted = fitted.for_run(TrainConfig(), bases.find(str(base)))
    torch.manual_seed(seed)
    with quiet():
        model = (_fused if kind.fuses else _plain)(fitted, base).eval()
    if not (kind.embeds or kind.generates):
        with torch.no_grad():
            *_, linear = (model.classifier if hasattr(model, "classifier") else model.qa_outputs).modules()
            linear.weight.mul_(20)
    encoder = kind.reader(base, fitted.settings)
    predictor = Predictor(fitted, encoder, PyTorchRuntime(model))
    manifest = Manifest(
        name=path.name, task=task, labels=fitted.labels, max_length=encoder.limit,
        base=BaseInfo(name="tiny", licence="apache-2.0"),
        calibration=CalibrationInfo(mean=fitted.calibration.mean, spread=fitted.calibration.spread),
        settings=fitted.settings,
        data={"source": "luban.testing", "rows": {"train": len(parsed)}, "fingerprint": "0" * 64},
    )  # fmt: skip

    def fill(work: Path) -> None:
        with quiet():
            model.save_pretrained(work, safe_serialization=True)
        for name in (SETTINGS, "tokenizer.json"):
            if (base / name).is_file():
                shutil.copyfile(base / name, work / name)
        sent = [{"image": row["image"]} if kind.sees else fitted.question(row) for row in parsed]
        write_golden(work, make_golden(predictor, sent))

    return write(path, manifest, fill)


def _plain(task: Task, base: Path) -> Any:
    """The transformers model of a task on a base."""
    import torch
    import transformers

    labels = {} if task.generates else {"num_labels": task.outputs}
    config = transformers.AutoConfig.from_pretrained(base, **labels, **task.model_config())
    for name, value in task.model_config().items():
        setattr(config, name, value)
    return getattr(transformers, task.model_class).from_pretrained(base, config=config, dtype=torch.float32)


def _fused(task: Task, base: Path) -> Any:
    """A model of several encoders on the two bases of `tiny_fused`."""
    import transformers

    from luban.fusion import FusedClassifier, described, headless

    places = {"text": base, "image": base / "vision"}
    encoders = {name: headless(transformers.AutoModel.from_pretrained(places[name])) for name in task.settings["reads"]}
    told = task.model_config()
    sizes = {"numbers": told["numbers"], "categories": told["categories"]}
    return FusedClassifier(described(encoders, labels=task.labels, dropout=0.1, **sizes), encoders)


class TaskContract:
    """What every task keeps; a subclass sets ``task``, ``rows`` (raw records, labelled) and may set ``broken``."""

    task: ClassVar[type[Task]]
    rows: ClassVar[list[dict[str, Any]]]

    def encoder(self, limit: int = 64) -> Any:
        return PictureEncoder(TINY_SIGHT) if self.task.sees else tiny_encoder(limit)

    def fitted(self) -> tuple[Task, list[dict[str, Any]]]:
        parsed = [self.task.parse(row) for row in self.rows]
        return self.task.fit(parsed), parsed

    def test_parsing_a_canonical_row_changes_nothing(self) -> None:
        for row in self.rows:
            once = self.task.parse(row)
            assert self.task.parse(once) == once

    def test_inputs_parse_without_their_targets(self) -> None:
        targets = {column.name for column in self.task.columns if column.target}
        for row in self.rows:
            bare = self.task.parse({k: v for k, v in row.items() if k not in targets}, labelled=False)
            assert bare.items() <= self.task.parse(row).items()
            assert texts(bare) or "image" in bare

    def test_labels_are_the_same_whatever_the_order_of_rows(self) -> None:
        parsed = [self.task.parse(row) for row in self.rows]
        assert self.task.fit(parsed).labels == self.task.fit(parsed[::-1]).labels

    def test_the_parts_of_a_row_weigh_one(self) -> None:
        task, rows = self.fitted()
        encoder = self.encoder(8)
        for row in rows:
            encoded = task.encode(row, encoder)
            for part in encoded.of_each():
                assert abs(sum(window.weight for window in encoded.windows[part]) - 1.0) < 1e-6

    def test_no_window_is_longer_than_the_limit_and_each_has_a_target(self) -> None:
        task, rows = self.fitted()
        encoder = self.encoder(8)
        for row in rows:
            encoded = task.encode(row, encoder)
            assert max(len(window.ids) for window in encoded.windows) <= 8
            assert len(task.targets(row, encoded)) == (1 if encoded.apart else len(encoded.windows))

    def test_perfect_logits_score_perfectly(self) -> None:
        task, rows = self.fitted()
        encoder = self.encoder()
        answers = []
        for row in rows:
            encoded = task.encode(row, encoder)
            answers.append(task.decode(encoded, self.perfect_outputs(task, row, encoded)))
        assert task.score(rows, answers)[task.main_score] > 0.999

    def test_an_answer_survives_json(self) -> None:
        task, rows = self.fitted()
        encoded = task.encode(rows[0], self.encoder())
        width = [(w.answers, task.outputs) if task.tags_words else (task.outputs,) for w in encoded.windows]
        answer = task.decode(encoded, [np.zeros(shape, dtype=np.float32) for shape in width])
        assert isinstance(answer, Prediction)
        assert json.loads(json.dumps(answer.as_json())) == answer.as_json()

    def test_the_loss_falls_along_its_gradient(self) -> None:
        import torch

        from luban.training import Example, padded_targets

        task, rows = self.fitted()
        encoded = [task.encode(row, self.encoder()) for row in rows]
        examples = [Example(e.windows[0], task.targets(r, e)[0], 1.0) for r, e in zip(rows, encoded, strict=True)]
        targets = torch.from_numpy(padded_targets(examples))
        longest = max(example.window.answers for example in examples) if task.tags_words else 1
        answers = sum(len(one.apart) or 1 for one in encoded)
        shape = (answers, longest, task.outputs) if task.tags_words else (answers, task.outputs)
        # Not zeros: vectors of nothing are alike in every direction.
        logits = torch.randn(shape, generator=torch.Generator().manual_seed(7)).requires_grad_()
        before = task.loss(logits, targets, torch.ones(len(rows)), 0.0)
        (gradient,) = torch.autograd.grad(before, logits)
        after = task.loss(logits - 0.01 * gradient, targets, torch.ones(len(rows)), 0.0)
        assert after.item() < before.item()

    def perfect_outputs(self, task: Task, row: dict[str, Any], encoded: Encoded) -> list[Any]:
        """What a perfect model puts out in each window of a row; a task whose texts are read apart says it itself."""
        return [self.perfect(task, target) for target in task.targets(row, encoded)]

    def perfect(self, task: Task, target: Any) -> Any:
        """Logits that say ``target`` as loudly as they can."""
        if task.tags_words:
            logits = np.zeros((len(target), task.outputs), dtype=np.float32)
            decided = target >= 0
            logits[decided, target[decided]] = 20.0
            return logits
        if target.dtype == np.int64:
            return np.eye(task.outputs, dtype=np.float32)[int(target)] * 20.0
        return np.atleast_1d(target * 40.0 - 20.0 if task.labels else target).astype(np.float32)


class RuntimeContract(ABC):
    """What every runtime keeps; a subclass sets ``runtime`` and gives ``folder(tmp_path, task)`` of that runtime."""

    runtime: ClassVar[str]

    @abstractmethod
    def folder(self, tmp_path: Path, task: str) -> Folder:
        """A folder of the runtime for a task."""

    def opened(self, tmp_path: Path, task: str = "text-classification") -> tuple[Folder, Runtime]:
        folder = self.folder(tmp_path, task)
        opened: Runtime = RUNTIMES[self.runtime].open(folder.path, threads=1)
        return folder, opened

    def test_logits_have_one_row_a_window(self, tmp_path: Path) -> None:
        folder, runtime = self.opened(tmp_path)
        batch = collate(list(folder.encoder().text("where is my order").windows) * 3, 0)
        logits = runtime.run(batch)
        assert logits.shape == (3, len(folder.manifest.labels))
        assert logits.dtype == np.float32

    def test_a_tagger_answers_for_every_sub_word(self, tmp_path: Path) -> None:
        folder, runtime = self.opened(tmp_path, "token-classification")
        batch = collate(folder.encoder().text("alice in paris").windows, 0)
        assert runtime.run(batch).shape == (*batch["input_ids"].shape, len(folder.manifest.labels))

    def test_padding_does_not_change_the_answer(self, tmp_path: Path) -> None:
        folder, runtime = self.opened(tmp_path)
        short, long = (folder.encoder().text(text).windows[0] for text in ("hello", "where is my order please"))
        alone = runtime.run(collate([short], 0))[0]
        beside = runtime.run(collate([long, short], 0))[1]
        np.testing.assert_allclose(alone, beside, atol=2e-3)

    def test_the_golden_rows_reproduce(self, tmp_path: Path) -> None:
        folder, _ = self.opened(tmp_path)
        check_golden(Predictor.open(folder, threads=1), folder.golden(), stage="test")
        assert folder.golden()


def tiny_encoder(limit: int = 64, *, max_windows: int = 64) -> TextEncoder:
    """The tiny base's tokenizer by itself."""
    return TextEncoder(tiny_tokenizer(), limit=limit, max_windows=max_windows)
