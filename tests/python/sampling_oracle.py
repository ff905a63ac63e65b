"""Processed scores as Hugging Face transformers computes them, and cases to compare on.

Only `transformers_scores` needs torch and transformers (the [oracle] extra).
"""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Params:
    """The sampling parameters that change scores; the defaults change nothing."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    bad_words_ids: list[list[int]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Case:
    params: Params
    logits: Floats  # (vocab_size)
    context: list[int]


def transformers_scores(case: Case) -> Floats:
    """Run the processors in the order in which `GenerationMixin` puts them together."""
    import torch
    from transformers.generation import logits_process as hf

    params = case.params
    processors = hf.LogitsProcessorList()
    if params.repetition_penalty != 1.0:
        processors.append(hf.RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    if params.bad_words_ids:
        processors.append(hf.NoBadWordsLogitsProcessor(params.bad_words_ids))
    if params.temperature != 1.0:
        processors.append(hf.TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        processors.append(hf.TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        processors.append(hf.TopPLogitsWarper(params.top_p))
    if params.min_p:
        processors.append(hf.MinPLogitsWarper(params.min_p))
    context = torch.tensor([case.context], dtype=torch.long)
    logits = torch.from_numpy(case.logits.copy())[None]
    # torch leaves the order of equal elements open; a stable sort makes it definite.
    with mock.patch.object(torch, "sort", functools.partial(torch.sort, stable=True)):
        scores: Floats = processors(context, logits)[0].numpy()
    return scores


def random_cases(seed: int, count: int, vocab_size: int, *, digits: int = 9) -> list[Case]:
    """Cases of every combination of steps; few `digits` make equal logits."""
    rng = np.random.default_rng(seed)

    def maybe(value: Any, off: Any) -> Any:
        return value if rng.random() < 0.6 else off

    cases = []
    for _ in range(count):
        spread = rng.choice([0.5, 2.0, 6.0])
        logits = np.round(spread * rng.standard_normal(vocab_size), digits).astype(np.float32)
        context = rng.integers(0, vocab_size, size=rng.integers(1, 24)).tolist()
        begun = [[*context[-n:], int(rng.integers(vocab_size))] for n in (1, 2, 3)]
        other = [rng.integers(0, vocab_size, size=n).tolist() for n in (1, 1, 2, 4)]
        params = Params(
            temperature=maybe(round(float(rng.uniform(0.1, 2.0)), 3), 1.0),
            top_k=int(maybe(rng.integers(1, vocab_size + 5), 0)),
            top_p=maybe(round(float(rng.uniform(0.05, 0.999)), 3), 1.0),
            min_p=maybe(round(float(rng.uniform(0.001, 0.3)), 4), 0.0),
            repetition_penalty=maybe(round(float(rng.uniform(0.6, 1.8)), 3), 1.0),
            bad_words_ids=maybe([*begun, *other], []),
        )
        cases.append(Case(params, logits, context))
    return cases
