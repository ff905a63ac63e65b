"""Makes the files of this folder from the golden checkpoint of the same name (see README.md).

Run in the source tree with the package installed:
    python tests/goldens/model/chatglm2_32k/make.py FOLDER/chatglm2_32k
"""

from __future__ import annotations

import sys
from pathlib import Path

from chatglm_cpp.convert import convert

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "python"))

from test_goldens import read_golden  # noqa: E402

ARRAYS = (
    "short.input_ids",
    "short.logits",
    "short.greedy_ids",
    "short.decode_logits",
    "long.input_ids",
    "long.last_logits",
    "long.greedy_ids",
)


def main() -> None:
    checkpoint = Path(sys.argv[1])
    convert(checkpoint, HERE / "model.gguf", "f16", progress=False)
    golden = read_golden(checkpoint / "golden.safetensors")
    for name in ARRAYS:
        suffix = "i32" if name.endswith("_ids") else "f32"
        (HERE / f"{name}.{suffix}").write_bytes(golden[name].tobytes())


if __name__ == "__main__":
    main()
