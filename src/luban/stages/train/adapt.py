"""The base reads on in texts without labels before it is trained: masked words are to be guessed; no task is learnt here.

Gururangan et al. 2020, "Don't Stop Pretraining", https://arxiv.org/abs/2004.10964, with BERT's masking of whole words: 15 per
cent of the sub-words, of which 80 per cent become the mask, 10 per cent any other and 10 per cent stay. What comes out is a
base folder like the one that went in, kept with the run, so that a run that was killed does not read twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from luban import processes
from luban.bases import Base
from luban.config import TrainConfig
from luban.encoding import IGNORE, Encoded, TextEncoder, is_ideograph
from luban.errors import ConfigError, counted
from luban.folder import write_text
from luban.manifest import canonical
from luban.records import Prepared, Progress, Step, Watch, unwatched
from luban.runtimes.pytorch import device, quiet
from luban.stages.train.forecast import forecast
from luban.stages.train.methods.adapters import READ_ON
from luban.stages.train.recipe import in_bf16
from luban.tasks import TASKS
from luban.training import Example, Feed, Learner, Objective, Part, Schedule, collated, drawn

PLACE, TOLD = "adapted", READ_ON
SHARE, MASKED, RANDOM = 0.15, 0.8, 0.1
LONGEST = 128
"sub-words of a window: longer texts are read in several"
STEPS, BATCH_ROWS, RATE, FRESH_RATE = 200, 32, 5e-5, 5e-4
FEWEST, MOST_HELD = 20, 200
"texts without which there is no telling whether the loss falls; most that are held out to tell it"
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<pad>", "<unk>", "<s>", "</s>", "<mask>")
"sub-words that are no text, also where a tokenizer does not declare them"
OTHER_WEIGHTS = ("*.bin", "*.h5", "*.msgpack", "*.ot", "onnx", "openvino", "*.onnx", "*.ckpt")
"the same weights in other forms, which would be out of date"
MOST_ANSWERS = 150_000_000
"numbers in the answers to one micro-batch: a large vocabulary makes them more than the rest of the model"


def check(data: Prepared, config: TrainConfig, base: Path) -> None:
    """Raises `ConfigError` where there is nothing to read on, or the base cannot; asked before any work."""
    if not data.texts:
        if config.adapt_steps:
            raise ConfigError(
                f"adapt_steps is {config.adapt_steps}, and there are no texts to read.",
                "The base reads on in texts without labels.", "Name them with --adapt.",
            )  # fmt: skip
        return
    task = TASKS[data.task]
    if task.sees or task.fuses or task.generates:
        raise ConfigError(
            f"adapt does not work for {data.task}.", "Masked words are guessed by a base that reads texts as a whole.",
            "Leave out --adapt.",
        )  # fmt: skip
    if config.continue_from or config.student_layers:
        raise ConfigError(
            "adapt goes neither with --continue-from nor with --student-layers.",
            "They start from a trained model, not from a base.", "Leave out one of them.",
        )  # fmt: skip
    if len(data.texts) < FEWEST:
        raise ConfigError(
            f"There are {counted(len(data.texts), 'text')} to read.", f"At least {FEWEST} are needed.",
            "Give more, or leave out --adapt.",
        )  # fmt: skip
    if mask_id(TextEncoder.open(base)) is None:
        raise ConfigError(
            f"The tokenizer of {base.name} has no mask.", "The base reads on by guessing what a mask hides.",
            "Take another base, or leave out --adapt.",
        )  # fmt: skip


def adapted(base: Base, data: Prepared, config: TrainConfig, run: Path, *, watch: Watch) -> tuple[Base, dict[str, Any]]:
    """The base after it has read ``data.texts``, and what the manifest says of it; both as they are where there are none.

    Done once a run: ``run`` keeps the base, and which texts and options it was made with.
    """
    if not data.texts:
        return base, {}
    texts = [str(row["text"]) for row in data.texts]
    steps = config.adapt_steps or STEPS
    told = [base.hash or str(base.path), steps, config.seed, config.max_length, config.precision, texts]
    key = sha256(canonical(told).encode()).hexdigest()
    place = run / PLACE
    kept = _kept(place, key)
    processes.wait()
    if kept is None:
        reader = Reader(base.path, texts, config, steps)
        found = reader.read(unwatched if processes.rank() else watch)
        source = str(data.notes.get("section", {}).get("adapt", ""))
        kept = {"source": PurePath(source).name, "texts": len(texts), "steps": steps, **found}
        if processes.rank() == 0:
            write_base(base.path, reader.model, place)
            write_text(place / TOLD, json.dumps({"key": key, "notes": kept}))
        processes.wait()
    return replace(base, path=place), {"adapted": kept}


def _kept(place: Path, key: str) -> dict[str, Any] | None:
    try:
        found = json.loads((place / TOLD).read_text(encoding="utf8"))
        return dict(found["notes"]) if found["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class Masking:
    """How words are hidden: the ``mask``, the ids that may stand in a word's place, and the words of each window.

    A word is the positions of its sub-words; special ones, that for unknown words among them, belong to none and are never
    hidden.
    """

    mask: int
    others: NDArray[np.int64]
    words: Sequence[Sequence[NDArray[np.int64]]]

    def hide(self, ids: NDArray[np.int64], window: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Hide words of a row of ``ids`` (n,), in place; what should be said of each: its id, or `IGNORE`."""
        said = np.full(len(ids), IGNORE, dtype=np.int64)
        words = self.words[window]
        wanted = max(1, round(SHARE * sum(map(len, words)))) if words else 0
        hidden = 0
        for i in rng.permutation(len(words)):
            if hidden >= wanted:
                break
            place = words[i]
            said[place] = ids[place]
            how = rng.random(len(place))
            ids[place[how < MASKED]] = self.mask
            changed = place[(how >= MASKED) & (how < MASKED + RANDOM)]
            ids[changed] = rng.choice(self.others, len(changed))
            hidden += len(place)
        return said


class Guess(Objective):
    """The cross-entropy of what stood under the masks; the mean over them, times the micro-batch's rows."""

    def __init__(self, *, bf16: bool = False) -> None:
        self.bf16 = bf16

    def logits(self, model: nn.Module, part: Part) -> Tensor:
        """(hidden sub-words, vocabulary); what answers for a sub-word runs for those alone where it is one module."""
        hidden = part.targets != IGNORE
        encoder, heads = parts_of(model)
        with torch.autocast(part.targets.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            if len(heads) == 1:
                answers: Tensor = heads[0](encoder(**part.inputs).last_hidden_state[hidden])
            else:
                answers = model(**part.inputs).logits[hidden]
        return answers.float()

    def of(self, logits: Tensor, part: Part) -> Tensor:
        if not len(logits):
            return logits.sum()
        return nn.functional.cross_entropy(logits, part.targets[part.targets != IGNORE]) * part.weights.sum()


def parts_of(model: Any) -> tuple[nn.Module, list[nn.Module]]:
    """The encoder, and what makes answers of its states."""
    prefix = str(model.base_model_prefix)
    return getattr(model, prefix), [one for name, one in model.named_children() if name != prefix]


class MaskedLearner(Learner):
    """A learner whose rows are hidden anew at each reading; a part's targets are what its feed has hidden."""

    masking: Masking
    pad_id: int

    def _part(self, rows: Sequence[int]) -> Part:
        rng = drawn()
        return hidden_part(self.feed, self.masking, rows, rng)


def hidden_part(feed: Feed, masking: Masking, rows: Sequence[int], rng: np.random.Generator) -> Part:
    """These windows with some words hidden."""
    inputs = dict(feed(rows))
    ids = inputs["input_ids"].cpu().numpy().copy()
    said = np.stack([masking.hide(ids[at], row, rng) for at, row in enumerate(rows)])
    where = inputs["input_ids"].device
    inputs["input_ids"] = torch.from_numpy(ids).to(where)
    return Part(inputs, torch.from_numpy(said).to(where), torch.ones(len(rows), device=where), tuple(rows))


class Reader:
    """A base with a head for masked words, and the texts it reads, some of them held out to see how well it guesses."""

    def __init__(self, base: Path, texts: Sequence[str], config: TrainConfig, steps: int) -> None:
        self.config, self.steps = config, steps
        self.encoder = TextEncoder.open(base, limit=min(config.max_length or LONGEST, LONGEST))
        self.model, self.fresh = with_head(base, config.seed)
        self.model.to(device())
        self.bf16 = in_bf16(config)
        rng = np.random.default_rng(config.seed)
        order = rng.permutation(len(texts))
        held = max(1, min(MOST_HELD, len(texts) // 10))
        encoded = [self.encoder.text(texts[i]) for i in order]
        self.held, self.learnt = encoded[:held], encoded[held:]

    def read(self, watch: Watch) -> dict[str, Any]:
        """Take the steps; what the manifest says of them. Raises `GateError` where the loss is not finite."""
        from luban.stages.train.loop import guarded

        before = self.loss()
        learner = self.learner()
        torch.manual_seed(self.config.seed)
        for event in guarded(learner):
            if isinstance(event, Step):
                watch(Progress("adapting", event.done, event.total))
        told = {"before": round(before, 4), "after": round(self.loss(), 4)}
        return {"loss": told, "head": "fresh" if self.fresh else "of the base"}

    def learner(self) -> Learner:
        examples = examples_of(self.learnt)
        most = max(LONGEST, min(BATCH_ROWS * LONGEST, int(MOST_ANSWERS / SHARE) // self.vocabulary // 8))
        plan = Schedule(
            epochs=1.0, rate=RATE, head_rate=FRESH_RATE if self.fresh else RATE, batch_rows=BATCH_ROWS,
            batch_tokens=BATCH_ROWS * LONGEST, micro_tokens=most, seed=self.config.seed,
        )  # fmt: skip
        learner = MaskedLearner(self.model, plan, examples, objective=Guess(bf16=self.bf16), feed=self.feed(examples))
        learner.masking = self.masking(self.learnt)
        forecast(learner, self.config.memory)  # the micro-batch that fits
        learner.total = self.steps
        return learner

    def loss(self) -> float:
        """The mean loss of a hidden sub-word of the texts held out, hidden in the same way each time."""
        examples, masking = examples_of(self.held), self.masking(self.held)
        rng, objective, feed = np.random.default_rng(self.config.seed), Guess(), self.feed(examples)
        total, count = 0.0, 0
        self.model.eval()
        with torch.inference_mode():
            for row in range(len(examples)):
                part = hidden_part(feed, masking, [row], rng)
                hidden = int((part.targets != IGNORE).sum())
                total += float(objective.of(objective.logits(self.model, part), part)) * hidden
                count += hidden
        return total / max(1, count)

    def feed(self, examples: Sequence[Example]) -> Feed:
        return collated(parts_of(self.model)[0], examples, self.encoder.pad_id)

    @property
    def vocabulary(self) -> int:
        return int(self.encoder.tokenizer.get_vocab_size())

    def masking(self, encoded: Sequence[Encoded]) -> Masking:
        tokenizer, mask = self.encoder.tokenizer, mask_id(self.encoder)
        assert mask is not None, "`check` has seen to it"
        special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        special |= {number for name in SPECIALS if (number := tokenizer.token_to_id(name)) is not None}
        others = np.array([i for i in range(self.vocabulary) if i not in special | {mask}], dtype=np.int64)
        windows = [(window, words_of(window, one.text)) for one in encoded for window in one.windows]
        plain = [[word for word in words if not special & set(window.ids[word].tolist())] for window, words in windows]
        return Masking(mask, others, plain)


def examples_of(encoded: Sequence[Encoded]) -> list[Example]:
    """Each window by itself."""
    nothing = np.array(0, dtype=np.int64)
    return [Example(window, nothing, 1.0, i) for i, one in enumerate(encoded) for window in one.windows]


def mask_id(encoder: TextEncoder) -> int | None:
    """The id that hides a sub-word."""
    found = (encoder.tokenizer.token_to_id(token) for token in ("[MASK]", "<mask>"))
    return next((int(one) for one in found if one is not None), None)


def words_of(window: Any, text: str) -> list[NDArray[np.int64]]:
    """Positions of each word's sub-words: letters and digits that touch are one word, an ideograph is one by itself."""
    words: list[list[int]] = []
    before = -1
    for place, (start, end) in enumerate(window.offsets):
        if start < 0 or start == end:
            before = -1
            continue
        if start == before and _inside(text[start - 1], text[start]):
            words[-1].append(place)
        else:
            words.append([place])
        before = end
    return [np.array(word, dtype=np.int64) for word in words]


def _inside(left: str, right: str) -> bool:
    return left.isalnum() and right.isalnum() and not (is_ideograph(left) or is_ideograph(right))


def with_head(base: Path, seed: int) -> tuple[nn.Module, bool]:
    """The base with what guesses masked words, and whether that starts at random: a base that makes vectors has none."""
    torch.manual_seed(seed)
    with quiet():
        model, loaded = transformers.AutoModelForMaskedLM.from_pretrained(
            base, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False,
            output_loading_info=True,
        )  # fmt: skip
    prefix = f"{model.base_model_prefix}."
    return model, any(not name.startswith(prefix) for name in loaded["missing_keys"])


def write_base(base: Path, model: nn.Module, place: Path) -> None:
    """The base's folder again, with the weights of the encoder as they are now; what else it holds stays."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(base, place, ignore=shutil.ignore_patterns(*OTHER_WEIGHTS))
    now: Mapping[str, Tensor] = parts_of(model)[0].state_dict()
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    for file in sorted(place.glob("*.safetensors")):
        held = load_file(file)
        new = {name: now.get(name.removeprefix(prefix), tensor) for name, tensor in held.items()}
        file.unlink()  # it may be a link into a cache
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in new.items()}, file, {"format": "pt"})
