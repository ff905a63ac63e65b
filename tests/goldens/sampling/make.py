"""Record what transformers' logits processors make of small cases: writes scores.json beside it.

Needs the [oracle] extra. The file lets `tests/python/test_sampling.py` hold the sampler against
transformers where torch is not installed.
"""

import json
import math
import sys
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "python"))

from sampling_oracle import Floats, random_cases, transformers_scores  # noqa: E402


def shortest(values: Floats) -> list[float | None]:
    """Return the shortest decimals that are these float32 values; None for -inf."""
    return [None if math.isinf(value) else float(str(value)) for value in values]


def main() -> None:
    cases = [
        *random_cases(seed=1, count=60, vocab_size=24, digits=4),
        *random_cases(seed=2, count=30, vocab_size=24, digits=0),  # many equal logits
        *random_cases(seed=3, count=10, vocab_size=80, digits=4),
    ]
    records = [
        {
            "params": case.params.as_dict(),
            "context": case.context,
            "logits": shortest(case.logits),
            "scores": shortest(transformers_scores(case)),
        }
        for case in cases
    ]
    path = HERE / "scores.json"
    lines = ",\n".join(json.dumps(record) for record in records)
    made_by = f"transformers {transformers.__version__}, torch {torch.__version__}"
    path.write_text(f'{{"made_by": "{made_by}", "cases": [\n{lines}\n]}}\n', encoding="utf-8")
    print(f"{len(records)} cases, {path.stat().st_size} bytes: {path}")


if __name__ == "__main__":
    main()
