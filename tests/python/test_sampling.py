"""The sampler against recorded scores of transformers, and by itself."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from chatglm_cpp import ChatGLMError, _core
from sampling_oracle import Case, Params

GOLDENS = Path(__file__).parents[1] / "goldens" / "sampling" / "scores.json"


def recorded_cases() -> list[tuple[Case, np.ndarray]]:
    cases = []
    for record in json.loads(GOLDENS.read_text(encoding="utf-8"))["cases"]:
        logits = np.array(record["logits"], np.float32)
        scores = [-math.inf if score is None else score for score in record["scores"]]
        case = Case(Params(**record["params"]), logits, record["context"])
        cases.append((case, np.array(scores, np.float32)))
    return cases


def test_scores_are_those_of_transformers() -> None:
    cases = recorded_cases()
    assert len(cases) == 100
    for index, (case, expected) in enumerate(cases):
        sampler = _core.Sampler(_core.SamplingParams(**case.params.as_dict()))
        scores = sampler.scores(case.logits, case.context)
        np.testing.assert_array_equal(scores, expected, err_msg=f"case {index}: {case.params}")


def test_draws_only_what_is_left_and_repeats_with_the_seed() -> None:
    for case, expected in recorded_cases()[::5]:
        drawn = []
        for _ in range(2):
            sampler = _core.Sampler(_core.SamplingParams(**case.params.as_dict(), seed=9))
            drawn.append([sampler.sample(case.logits, case.context).token for _ in range(50)])
        assert drawn[0] == drawn[1]
        assert set(drawn[0]) <= set(np.flatnonzero(np.isfinite(expected)).tolist())


def test_unusable_logits_are_an_error_that_says_so() -> None:
    logits = np.zeros(8, np.float32)
    logits[[3, 5]] = np.nan
    with pytest.raises(ChatGLMError, match=r"2 NaN and 0 \+Inf among 8, first at token 3"):
        _core.Sampler(_core.SamplingParams()).sample(logits, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.0),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("min_p", 2.0),
        ("repetition_penalty", math.nan),
        ("top_logprobs", -2),
        ("bad_words_ids", [[]]),
    ],
)
def test_parameters_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(ChatGLMError, match=f"^{name} must be"):
        _core.SamplingParams(**{name: value})  # type: ignore[arg-type]
