"""Times llama.cpp by the low-level interface of llama-cpp-python, one process for each round.

Runs under the Python that has the package: a request (JSON) on stdin, the result (JSON) on stdout,
a sentence on stderr and exit code 1 where something is missing. Knows nothing of the other runtime.
There is no sampling in the timing: only ``llama_decode`` on tokens chosen beforehand.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import sys
import time
from typing import Any

try:
    import llama_cpp
except ImportError as error:
    sys.exit(f"llama-cpp-python cannot be imported by {sys.executable}: {error}")

GGML_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}
FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
BATCH_ROWS = 512
WARM_UP_TOKENS = 64  # touch every weight and the working memory
COPY_TOKENS = 64
# The callback must live as long as llama.cpp may log.
SILENCE = llama_cpp.llama_log_callback(lambda level, text, user_data: None)


class Session:
    """One context: a cache type, a number of threads, and as many positions as a test needs."""

    def __init__(
        self, model: Any, vocab_size: int, positions: int, request: dict[str, Any]
    ) -> None:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = positions + COPY_TOKENS
        params.n_batch = params.n_ubatch = BATCH_ROWS
        params.n_seq_max = 2  # the second is where a copy of the first tokens lies for a moment
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = request["threads"]
        params.type_k = params.type_v = GGML_TYPES[request["kv_dtype"]]
        params.flash_attn_type = FLASH_ATTENTION[request["flash_attention"]]
        self.context = llama_cpp.llama_init_from_model(model, params)
        if not self.context:
            raise RuntimeError(f"llama.cpp makes no context of {positions} positions")
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.vocab_size = vocab_size
        self.generator = random.Random(20231027)

    def close(self) -> None:
        llama_cpp.llama_free(self.context)

    def decode(self, count: int, rows: int) -> float:
        """Compute `count` random tokens, `rows` in a step; seconds."""
        tokens = [self.generator.randrange(self.vocab_size) for _ in range(count)]
        batches = []
        for start in range(0, count, rows):
            part = tokens[start : start + rows]
            batches.append((llama_cpp.llama_token * len(part))(*part))
        begin = time.perf_counter()
        for batch in batches:
            code = llama_cpp.llama_decode(
                self.context, llama_cpp.llama_batch_get_one(batch, len(batch))
            )
            if code != 0:
                raise RuntimeError(f"llama_decode of {len(batch)} tokens returned {code}")
        llama_cpp.llama_synchronize(self.context)
        return time.perf_counter() - begin

    def forget_from(self, position: int) -> None:
        if not llama_cpp.llama_memory_seq_rm(self.memory, 0, position, -1):
            raise RuntimeError(f"llama.cpp cannot forget the tokens from {position} on")

    def fill(self, depth: int) -> int:
        """Put `depth` tokens into the cache; the position after them.

        The first are computed, the others are copies at the same positions: attention has as much
        to read and to multiply, and a deep cache takes seconds instead of minutes.
        """
        computed = min(depth, COPY_TOKENS)
        if computed > 0:
            self.decode(computed, computed)
        if depth > computed:
            size = llama_cpp.llama_state_seq_get_size(self.context, 0)
            state = (ctypes.c_uint8 * size)()
            llama_cpp.llama_state_seq_get_data(self.context, state, size, 0)
            for start in range(computed, depth, computed):
                if llama_cpp.llama_state_seq_set_data(self.context, state, size, 1) == 0:
                    raise RuntimeError("llama.cpp does not take its own state back")
                llama_cpp.llama_memory_seq_rm(self.memory, 1, depth - start, -1)
                llama_cpp.llama_memory_seq_cp(self.memory, 1, 0, -1, -1)
                llama_cpp.llama_memory_seq_rm(self.memory, 1, -1, -1)
        return computed


def run_case(model: Any, vocab_size: int, case: dict[str, Any]) -> float:
    """Tokens per second of one test: ``{kind, tokens, depth, kv_dtype, threads, ...}``."""
    depth, tokens = case["depth"], case["tokens"]
    rows = BATCH_ROWS if case["kind"] == "pp" else 1
    session = Session(model, vocab_size, depth + max(tokens, WARM_UP_TOKENS), case)
    try:
        position = session.fill(depth)
        session.decode(min(tokens, WARM_UP_TOKENS if rows > 1 else 4), rows)
        session.forget_from(position)
        return float(tokens / session.decode(tokens, rows))
    finally:
        session.close()


def main() -> None:
    request = json.load(sys.stdin)
    # What llama.cpp prints in spite of its callback belongs to stderr.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    llama_cpp.llama_log_set(SILENCE, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    begin = time.perf_counter()
    model = llama_cpp.llama_model_load_from_file(os.fsencode(request["model"]), params)
    if not model:
        sys.exit(f"llama.cpp cannot load {request['model']}")
    load_seconds = time.perf_counter() - begin
    vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    rates: list[float | None] = []
    errors: list[str] = []
    for case in request["cases"]:
        try:
            rates.append(run_case(model, vocab_size, case))
        except RuntimeError as error:
            rates.append(None)
            errors.append(f"{case['name']}: {error}")
    result = {
        "name": f"llama.cpp (llama-cpp-python {llama_cpp.__version__})",
        "system": llama_cpp.llama_print_system_info().decode("utf-8", "replace").strip(),
        "load_seconds": load_seconds,
        "rates": rates,
        "errors": errors,
    }
    with answer:
        json.dump(result, answer)


if __name__ == "__main__":
    main()
