"""The sampler against transformers itself, on many cases and at the size of real vocabularies."""

from __future__ import annotations

import numpy as np
import pytest

from chatglm_cpp import _core
from sampling_oracle import random_cases, transformers_scores

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize(
    ("seed", "count", "vocab_size", "digits"),
    [(11, 400, 30, 9), (12, 200, 30, 0), (13, 60, 1000, 9), (14, 8, 65024, 9)],
)
def test_scores_are_those_of_transformers(
    seed: int, count: int, vocab_size: int, digits: int
) -> None:
    pytest.importorskip("transformers")
    for index, case in enumerate(random_cases(seed, count, vocab_size, digits=digits)):
        sampler = _core.Sampler(_core.SamplingParams(**case.params.as_dict()))
        scores = sampler.scores(case.logits, case.context)
        expected = transformers_scores(case)
        np.testing.assert_array_equal(scores, expected, err_msg=f"case {index}: {case.params}")
