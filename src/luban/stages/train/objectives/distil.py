"""A row teaches by its label and by what a teacher says of it: soft labels (Hinton, Vinyals & Dean 2015, "Distilling the
Knowledge in a Neural Network"). It runs no teacher: the answers were asked for before (`stages/train/teacher.py`).

Where the teacher knows only the first of the student's labels, the student is compared on those alone: learning without
forgetting (Li & Hoiem 2016), by which an older model keeps what it knew while new classes are learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, kl_div, log_softmax

from luban.stages.train.teacher import Lesson
from luban.tasks.base import Task
from luban.training import Example, Objective, Part


class Distil(Objective):
    """``1 - weight`` of ``inner``, ``weight`` of the distance to the teacher's answers; the whole where a row has no label.

    ``temperature`` softens both answers of classes; the distance is multiplied by its square, as its gradient shrinks so.
    """

    def __init__(
        self,
        inner: Objective,
        lesson: Lesson,
        examples: Sequence[Example],
        *,
        task: Task,
        weight: float,
        temperature: float,
    ) -> None:
        self.inner, self.lesson, self.examples = inner, lesson, examples
        self.task, self.weight, self.temperature = task, weight, temperature

    def logits(self, model: nn.Module, part: Part) -> Tensor:
        return self.inner.logits(model, part)

    def of(self, logits: Tensor, part: Part) -> Tensor:
        labelled = torch.tensor([self.examples[i].labelled for i in part.rows], device=logits.device)
        told = replace(part, weights=part.weights * labelled)
        soft = torch.where(labelled, self.weight, 1.0) * part.weights
        return (1 - self.weight) * self.inner.of(logits, told) + (soft * self.distance(logits, part)).sum()

    def distance(self, logits: Tensor, part: Part) -> Tensor:
        """How far the answers for each row are from the teacher's: (b,), the mean over the words of a tagger's window."""
        wanted = self.lesson.of(part.rows).to(logits.device)
        if any(part.name for part in self.task.parts) and not self.task.tags_words:
            return self._of_questions(logits, wanted[:, 0])
        if not self.task.tags_words:
            return self._each(logits[:, : self.lesson.width], wanted[:, 0])
        decided = torch.zeros(logits.shape[:2], device=logits.device)
        for at, i in enumerate(part.rows):
            heads = self.examples[i].window.heads
            assert heads is not None
            decided[at, torch.from_numpy(heads).to(logits.device)] = 1.0
        each = self._each(logits[:, : wanted.shape[1], : self.lesson.width], wanted)
        return (each * decided[:, : wanted.shape[1]]).sum(1) / decided.sum(1)

    def _of_questions(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """The mean over questions, of which the teacher answers every one for every row, by their weights: (b,)."""
        counts = [float(one["weight"]) for one in self.task.settings["questions"]]
        each = [
            count * self._each(logits[:, part.begin : part.end], wanted[:, part.begin : part.end], part.kind)
            for count, part in zip(counts, self.task.parts, strict=True)
        ]
        return torch.stack(each).sum(0) / sum(counts)

    def _each(self, said: Tensor, wanted: Tensor, kind: str = "") -> Tensor:
        """Distance of each answer (..., width) to the teacher's: KL of classes, of each yes or no, or the squared error.

        ``kind``: what a question is answered with, where the task asks several.
        """
        heat = self.temperature
        if kind == "number" or not self.task.labels:
            return (said - wanted).square().sum(-1)
        if kind == "label" or self.task.tags_words or self.task.main_score == "accuracy":
            there, here = log_softmax(wanted / heat, -1), log_softmax(said / heat, -1)
            return kl_div(here, there, reduction="none", log_target=True).sum(-1) * heat**2
        chances = torch.sigmoid(wanted / heat)
        least = binary_cross_entropy_with_logits(wanted / heat, chances, reduction="none")
        losses = binary_cross_entropy_with_logits(said / heat, chances, reduction="none")
        return (losses - least).sum(-1) * heat**2
