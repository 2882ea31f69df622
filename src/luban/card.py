"""`luban.json` to README.md: the model card, for people and for the hub; it is never parsed.

It says only what the manifest says. Every value is escaped, so that a label or a name cannot become Markdown or YAML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from luban.bases import CATALOGUE, HUB_ID
from luban.manifest import Manifest
from luban.units import size

FOLDED = 30
"more labels than this are folded away"
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!$&])")

TASKS = {
    "text-classification": ("text-classification", "SequenceClassification", "puts one of its labels on a text"),
    "multi-label-classification": (
        "text-classification",
        "SequenceClassification",
        "puts any number of its labels on a text",
    ),
    "text-regression": ("text-classification", "SequenceClassification", "gives a text a number"),
    "text-pair": ("text-classification", "SequenceClassification", "compares two texts"),
    "multi-task": ("text-classification", "SequenceClassification", "answers several questions of a text"),
    "embedding": ("sentence-similarity", "", "gives a text a vector that lies near those of texts that mean the same"),
    "recommendation": ("text-retrieval", "", "recommends items from what a user took before, or from a text"),
    "rerank": ("text-ranking", "SequenceClassification", "says how well a passage answers a query"),
    "token-classification": ("token-classification", "TokenClassification", "marks spans of a text with its labels"),
    "intent-and-slots": ("token-classification", "TokenClassification", "says what a text asks for, and with what"),
    "extractive-qa": ("question-answering", "QuestionAnswering", "marks what of a text answers a question"),
    "text-generation": ("text-generation", "CausalLM", "goes on from a text, or answers in a conversation"),
    "text-to-text": ("text2text-generation", "Seq2SeqLM", "rewrites a text as another"),
    "image-classification": ("image-classification", "ImageClassification", "puts one of its labels on a picture"),
    "multimodal-classification": (
        "text-classification",
        "",
        "puts one of its labels on a row of a text, a picture and fields, of which any may be missing",
    ),
}
"task to the hub's name for it, the transformers class and what it does"
WRITERS = {"text-generation", "text-to-text"}
"tasks whose models read a text in one piece"
OWN = {"multimodal-classification"}
"tasks whose models are of luban's own architecture"


def model_card(manifest: Manifest) -> str:
    """The model card of a manifest, as Markdown with the hub's front matter."""
    parts = (
        f"# {escaped(manifest.name)}",
        _what(manifest),
        _questions(manifest) or _labels(manifest.labels),
        _fields(manifest),
        _scores(manifest),
        _use(manifest),
        _training(manifest),
        _data(manifest.data),
        _privacy(manifest),
        _lineage(manifest),
        _limits(manifest),
        _files(manifest),
    )
    return _front_matter(manifest) + "\n" + "\n\n".join(part for part in parts if part) + "\n"


def escaped(value: object) -> str:
    """Any value as one line of plain Markdown text."""
    return SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def code(value: object) -> str:
    """Any value as a Markdown code span, fenced longer than any run of backticks inside."""
    text = " ".join(str(value).split()) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of escaped cells, all but the first to the right; a bar ends a cell even in a code span."""
    marks = ["---", *["---:"] * (len(header) - 1)]
    lines = ([re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in row] for row in (header, marks, *rows))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _front_matter(manifest: Manifest) -> str:
    tag, _, _ = _task(manifest)
    library = "luban" if manifest.task in OWN else "transformers"
    body: dict[str, Any] = {"library_name": library, "pipeline_tag": tag, "tags": ["luban", manifest.task]}
    if manifest.runtime == "onnx":
        body["tags"].append("onnx")
    if manifest.base.licence:
        body["license"] = _line(manifest.base.licence)
    known = CATALOGUE.get(manifest.base.name)
    if known or HUB_ID.fullmatch(manifest.base.name):
        body["base_model"] = known.origin if known else manifest.base.name
    if manifest.scores:
        body["metrics"] = sorted({score for scores in manifest.scores.values() for score in scores})
        body["model-index"] = [{"name": _line(manifest.name), "results": _results(manifest, tag)}]
    return "---\n" + yaml.safe_dump(body, allow_unicode=True, sort_keys=False, width=120) + "---\n"


def _line(text: str) -> str:
    """Text without line breaks and control characters, some of which YAML does not give back as they were."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _results(manifest: Manifest, tag: str) -> list[dict[str, Any]]:
    name = _line(_source(manifest.data)) or "local rows"
    return [
        {
            "task": {"type": tag, "name": manifest.task},
            "dataset": {"type": "local", "name": name, "split": split},
            "metrics": [{"type": score, "value": round(value, 6)} for score, value in scores.items()],
        }
        for split, scores in manifest.scores.items()
    ]


def _what(manifest: Manifest) -> str:
    _, _, does = _task(manifest)
    base = f", trained from {escaped(manifest.base.name)}" if manifest.base.name else ""
    form = "ONNX" if manifest.runtime == "onnx" else "safetensors"
    longer = "longer ones are cut" if manifest.task in WRITERS else "longer texts in overlapping windows"
    return (
        f"This model {does} (task {code(manifest.task)}){base}. Its weights are {form}; it reads up to "
        f"{manifest.max_length} sub-words at a time, and {longer}.\n\n"
        f"Fingerprint {code(manifest.fingerprint[:16])}"
    )


def _questions(manifest: Manifest) -> str:
    """Of a model that answers several questions, each with its answers."""
    asked = manifest.settings.get("questions", ())
    rows = [
        [
            code(one["name"]),
            ", ".join(map(code, one["labels"])) or "a number",
            f"{one['share']:.0%}",
            f"{one['weight']:g}",
        ]
        for one in asked
    ]
    head = ["question", "answers", "training rows that answer it", "weight"]
    return f"## Questions\n\n{table(head, rows)}" if rows else ""


def _labels(labels: Sequence[str]) -> str:
    if not labels:
        return ""
    listed = ", ".join(code(label) for label in labels)
    if len(labels) > FOLDED:
        listed = f"<details><summary>{len(labels)} labels</summary>\n\n{listed}\n\n</details>"
    return f"## Labels\n\n{listed}"


def _fields(manifest: Manifest) -> str:
    """What rows of several kinds are made of, and what sees their pictures."""
    told = manifest.settings
    if manifest.task not in OWN or not isinstance(told.get("reads"), list | tuple):
        return ""
    known = {name: told.get(name, {}) for name in ("numbers", "categories")}
    lines = [f"- {escaped(str(kind))}" for kind in told["reads"]]
    lines += [f"- {code(str(name))}: a number, {pair[0]:.4g} in the mean" for name, pair in known["numbers"].items()]
    lines += [f"- {code(str(name))}: one of {len(values)} values" for name, values in known["categories"].items()]
    sight = manifest.notes.get("vision_base")
    seen = (
        f"\n\nPictures are seen by {code(str(sight['name']))} (licence: {escaped(str(sight['licence'] or 'not stated'))})."
        if isinstance(sight, Mapping)
        else ""
    )
    return "## What it reads\n\n" + "\n".join(lines) + seen


def _scores(manifest: Manifest) -> str:
    if not manifest.scores:
        return ""
    rows = manifest.data.get("rows")
    sizes = rows if isinstance(rows, Mapping) else {}
    splits = list(manifest.scores)
    header = [f"{escaped(split)} ({sizes[split]} rows)" if split in sizes else escaped(split) for split in splits]
    names = dict.fromkeys(name for split in splits for name in manifest.scores[split])
    body = [
        [code(name), *(f"{manifest.scores[s][name]:.4f}" if name in manifest.scores[s] else "" for s in splits)]
        for name in names
    ]
    return "## Scores\n\n" + table(["score", *header], body)


def _use(manifest: Manifest) -> str:
    _, kind, _ = _task(manifest)
    luban = 'import luban\n\nmodel = luban.load("path/to/this/folder")\nprint(model.predict(["a text"]))'
    out = (
        '## Use\n\nOn the command line:\n\n```sh\nluban predict path/to/this/folder "a text" --explain\n'
        f"luban serve path/to/this/folder\n```\n\nIn Python:\n\n```python\n{luban}\n```"
    )
    if manifest.runtime != "pytorch" or manifest.task in OWN:
        return out
    auto = f"AutoModelFor{kind}" if kind else "AutoModel"
    plain = (
        f"from transformers import {auto}, AutoTokenizer\n\n"
        f'model = {auto}.from_pretrained("path/to/this/folder")\n'
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")'
    )
    return f"{out}\n\nIn plain transformers, without luban:\n\n```python\n{plain}\n```"


def _training(manifest: Manifest) -> str:
    recipe = manifest.recipe
    sections: dict[str, Mapping[str, Any]] = {
        "": {key: value for key, value in recipe.items() if not isinstance(value, Mapping)}
    }
    sections.update({name: value for name, value in recipe.items() if isinstance(value, Mapping)})
    tables = []
    for name, options in sections.items():
        rows = [[code(key), code(_shown(value))] for key, value in options.items() if value not in ("", None, {}, [])]
        if rows:
            tables.append((f"{escaped(name)}:\n\n" if name else "") + table(["option", "value"], rows))
    inner = "\n\n".join(tables)
    return f"## Training\n\n<details><summary>The resolved recipe</summary>\n\n{inner}\n\n</details>" if tables else ""


def _data(data: Mapping[str, Any]) -> str:
    lines = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
        elif key == "source":
            value = _source(data)
        if value not in ("", None, []):
            lines.append(f"- {escaped(key.replace('_', ' '))}: {escaped(_shown(value))}")
    return "## Data\n\n" + "\n".join(lines) if lines else ""


def _privacy(manifest: Manifest) -> str:
    """What a private run promises, for which rows, and what is outside of it."""
    told = manifest.notes.get("private")
    if not isinstance(told, Mapping):
        return ""
    epsilon, delta = f"{float(told['epsilon']):.2f}", f"{float(told['delta']):.2g}"
    return (
        f"## Privacy\n\n**Epsilon spent: {epsilon}** at delta {delta}, for each of the {told['rows']} training rows.\n\n"
        "With or without any one of them, the chance of any outcome of this training differs by a factor of at most "
        f"exp({epsilon}), except with probability {delta}. It was trained by DP-SGD: {told['steps']} steps, each on rows "
        f"drawn with probability {float(told['rate']):.3g}, gradients bounded to norm {float(told['clip']):g} a row, noise "
        f"multiplier {float(told['noise']):.3g}; counted by the {code(told['accountant'])} accountant of opacus.\n\n"
        "Outside of this promise: the weights of the base model and all the texts that it has read; the validation rows, "
        "which chose the checkpoint, the temperature and the thresholds and gave the scores; the names of the labels, the "
        "number of rows and how they were cleaned and split; other trainings on the same rows, each of which spends its own "
        "epsilon; and a person whose data stand in several rows, who is protected less. The golden rows are made ones, and "
        "there is no drift sketch."
    )


def _lineage(manifest: Manifest) -> str:
    base = manifest.base
    lines = [f"- base model: {escaped(base.name)}" + (f" ({escaped(base.revision)})" if base.revision else "")]
    if base.licence:
        lines.append(f"- licence of the base: {escaped(base.licence)}")
    if base.hash:
        lines.append(f"- SHA-256 of the base's weights: {code(base.hash)}")
    read = manifest.notes.get("adapted")
    if isinstance(read, Mapping):
        loss = read["loss"]
        lines.append(
            f"- before it learnt, the base read {read['texts']} texts of {escaped(read['source'])} for {read['steps']} steps, "
            f"guessing masked words (loss on texts held out: {loss['before']:.2f} before, {loss['after']:.2f} after)"
        )
    if manifest.parent:
        lines.append(f"- made from the model with fingerprint {code(manifest.parent)}")
    lines += [f"- {escaped(name)} {escaped(version)}" for name, version in manifest.made_by.items()]
    return "## Where it comes from\n\n" + "\n".join(lines)


def _limits(manifest: Manifest) -> str:
    lines = [
        "- It knows only what its rows held: on texts of another kind, language or time the scores above do not hold.",
        "- A probability is the model's own estimate, not a promise; check it on rows of your own before acting on it.",
    ]
    if manifest.labels and manifest.task in {"text-classification", "text-pair"}:
        lines.append("- It always answers with one of its labels, also where none fits.")
    if not manifest.base.licence:
        lines.append("- The licence of the base model is not recorded: find it out before you pass this model on.")
    return "## Limits\n\n" + "\n".join(lines)


def _files(manifest: Manifest) -> str:
    if not manifest.files:
        return ""
    rows = [[code(name), size(info.bytes)] for name, info in manifest.files.items()]
    total = size(sum(info.bytes for info in manifest.files.values()))
    return f"## Files\n\n{table(['file', 'size'], rows)}\n\n{total} in all; `luban.json` holds the SHA-256 of each."


def _task(manifest: Manifest) -> tuple[str, str, str]:
    unknown = (manifest.task, "SequenceClassification", f"was trained for {code(manifest.task)}")
    return TASKS.get(manifest.task, unknown)


def _source(data: Mapping[str, Any]) -> str:
    """The source's last part: whose directory it stood in is nobody's business."""
    source = str(data.get("source", ""))
    return source if source.startswith("hf:") else PurePath(source).name


def _shown(value: object) -> str:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, str) and value.startswith("/"):
        return PurePath(value).name
    return f"{value:g}" if isinstance(value, float) else str(value)
