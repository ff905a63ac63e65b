"""Records the logits of transformers' GlmForCausalLM for tests/python/test_model_reference.py.

Run in the source tree with the [oracle] extra installed:  python tests/goldens/model/record.py
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "python"))

from glm_oracle import oracle, oracle_logits  # noqa: E402
from test_model_reference import RECORDED, random_ids  # noqa: E402


def main() -> None:
    arrays = {}
    for name, model in RECORDED.items():
        weights = model.weights(seed=11)
        ids = random_ids(model, 24, seed=12)
        network = oracle(model, weights, interpolate=name == "interpolated")
        digest = hashlib.sha256(b"".join(array.tobytes() for _, array in weights.values()))
        arrays[f"{name}.weights_sha256"] = np.frombuffer(digest.digest(), np.uint8)
        arrays[f"{name}.ids"] = np.array(ids, np.int32)
        arrays[f"{name}.logits"] = oracle_logits(network, ids)
    np.savez_compressed(HERE / "logits.npz", **arrays)


if __name__ == "__main__":
    main()
