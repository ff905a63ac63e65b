"""The converter's command line."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from . import DTYPES, LOGN_ATTENTION, MODEL_TYPES, ConversionError, convert


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chatglm-convert",
        description="Convert a Hugging Face checkpoint folder to one GGUF file.",
    )
    parser.add_argument("-i", "--input", required=True, metavar="DIR", help="checkpoint folder")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "-t",
        "--type",
        default="q4_0",
        choices=DTYPES,
        help="type of the matrices (default: %(default)s)",
    )
    parser.add_argument(
        "--model-type",
        default="auto",
        choices=MODEL_TYPES,
        help="what the checkpoint is, where it does not tell (default: %(default)s)",
    )
    parser.add_argument(
        "--logn-attention",
        default="auto",
        choices=LOGN_ATTENTION,
        help="ChatGLM3-6B-128K's logarithmic query scaling (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=_thread_count,
        default=0,
        metavar="N",
        help="threads of the quantizer (default: all cores)",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="print nothing but errors and no progress bar"
    )
    return parser


def _thread_count(value: str) -> int:
    count = int(value)
    if count < 0:
        raise argparse.ArgumentTypeError("expected 0 (all cores) or more")
    return count


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # so that the temporary file is removed


def main(argv: list[str] | None = None) -> int:
    """Run the program.

    Returns
    -------
    int
        0: done, 1: the checkpoint can't be converted, 130: stopped. A wrong usage exits with 2.
    """
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        convert(
            arguments.input,
            arguments.output,
            arguments.type,
            model_type=arguments.model_type,
            logn_attention=arguments.logn_attention,
            progress=not arguments.quiet,
            num_threads=arguments.threads,
        )
    except ConversionError as error:
        print(f"chatglm-convert: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("chatglm-convert: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
