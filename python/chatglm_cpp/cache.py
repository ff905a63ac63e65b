"""Model folders as GGUF files: converted once, then kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from chatglm_cpp.exceptions import InvalidArgumentError

__all__ = ["cache_dir", "converted"]


def cache_dir() -> Path:
    r"""Return the folder for converted models.

    It is ``$XDG_CACHE_HOME/chatglm_cpp``, by default ``~/.cache/chatglm_cpp``; on Windows
    ``%LOCALAPPDATA%\chatglm_cpp\Cache``.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The specification has a relative path ignored.
    if os.path.isabs(root):
        return Path(root) / "chatglm_cpp"
    local = os.environ.get("LOCALAPPDATA", "")
    if sys.platform == "win32" and local:
        return Path(local) / "chatglm_cpp" / "Cache"
    return Path.home() / ".cache" / "chatglm_cpp"


def converted(model_dir: Path, dtype: str) -> Path:
    """Return the GGUF file for a checkpoint folder; make it where it is not there yet.

    Parameters
    ----------
    model_dir
        A Hugging Face checkpoint.
    dtype
        Type of the matrices: ``"f32"``, ``"f16"``, ``"bf16"``, ``"q8_0"`` or ``"q4_0"``.

    Returns
    -------
    Path
        A file in `cache_dir`. Its name depends on the folder's path, on the sizes and times of the
        files in it, on `dtype` and on the converter: whatever changes, it is converted anew.

    Raises
    ------
    ConversionError
        The folder holds no checkpoint, or one that can't be converted.
    """
    # Only who opens a folder pays for loading the converter.
    from chatglm_cpp.convert import DTYPES, REVISION, convert

    if dtype not in DTYPES:
        raise InvalidArgumentError(f"dtype is one of {', '.join(DTYPES)}, found {dtype!r}")
    model_dir = model_dir.resolve()
    name = f"{model_dir.name}-{dtype}-{_fingerprint(model_dir, dtype, REVISION)}.gguf"
    target = cache_dir() / name
    if target.is_file():
        print(f"chatglm_cpp: using {target} (converted from {model_dir})", file=sys.stderr)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"chatglm_cpp: converting {model_dir} once to {target}", file=sys.stderr)
    convert(model_dir, target, dtype)
    return target


def _fingerprint(model_dir: Path, dtype: str, revision: int) -> str:
    digest = hashlib.sha256(repr((str(model_dir), dtype, revision)).encode())
    for path in sorted(model_dir.iterdir()):
        if path.is_file():
            status = path.stat()
            digest.update(repr((path.name, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()[:16]
