"""A loaded model, to chat with and to complete texts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from chatglm_cpp import _core
from chatglm_cpp.cache import converted, converted_adapter
from chatglm_cpp.exceptions import InvalidArgumentError
from chatglm_cpp.hub import is_name
from chatglm_cpp.model import Model, Statistics, Tokenizer
from chatglm_cpp.options import Options, checked_count, checked_limit, core_options
from chatglm_cpp.stream import ChatStream, TextStream
from chatglm_cpp.types import (
    ChatMessage,
    DeltaMessage,
    Messages,
    checked_text,
    from_core_message,
    to_core_messages,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Pipeline"]

_DEMO_MODEL = "chatglm3-demo-q8_0.gguf"


class Pipeline:
    """A model, ready to talk to. May be used from several threads at a time.

    Parameters
    ----------
    model_path
        A GGUF file; or the folder of a Hugging Face checkpoint, which is converted on first use and
        kept in the user's cache folder; or the name of a model on a hub, such as
        ``"THUDM/chatglm3-6b"``, where there is no such folder here: it is downloaded first, by the
        library `huggingface_hub` or `modelscope`; or None: the small demo model that comes with the
        package.
    dtype
        Of a folder or name: what its matrices become, one of `chatglm_cpp.convert.DTYPES` (default
        ``"q4_0"``).
    max_length
        The most tokens of one conversation, prompt and answer; at most (and by default) what the
        model can hold.
    device
        Where to compute: ``"cpu"``, ``"cuda"`` (the first NVIDIA GPU), ``"cuda:1"`` (the second),
        ...; ``"auto"`` takes the first GPU where the package was built with CUDA and there is one,
        else the CPU. ``"cuda:0,1"``: both, each with a part of the layers as large as its free
        memory allows.
    gpu_layers
        So many of the model's last layers on the GPU, the others on the CPU: for a model that is
        larger than the GPU's memory. By default, and where it is the number of layers or more, all
        of them.
    num_threads
        Threads of the CPU; by default one for each performance core. With a GPU they bring the
        weights there.
    kv_dtype
        Storage type of the context: ``"f32"``, ``"f16"`` or ``"q8_0"``.
    kv_cache_bytes
        The most memory for the context; by default what `max_length` needs, and at most half of the
        free memory; on a GPU what 64 conversations of that length need, and at most three quarters
        of what the weights left free. It is taken as it comes into use.
    hub
        Of a name: ``"huggingface"``, ``"modelscope"`` or ``"auto"``, which is what the environment
        variable ``CHATGLM_CPP_HUB`` says, else the first of them whose library is installed.
    revision
        Of a name: a branch, tag or commit.
    adapters
        LoRA adapters beside the model, by the names that requests choose them with: GGUF files, or
        folders in PEFT's form, which are converted on first use. Each takes memory of its own size;
        the model's weights are there once.
    speculative
        Guess the next tokens and verify several in one step, which gives the very same tokens, and
        gives them sooner where guesses are right; how many are guessed follows from what that costs
        here. ``"auto"``: by `draft_model` where there is one, else as ``"lookup"``; ``"lookup"``:
        what followed the last few tokens when they stood in the text before; ``"off"`` or None:
        none.
    draft_model
        A smaller model of exactly the same vocabulary, which guesses: a GGUF file. Its context
        takes a share of `kv_cache_bytes`.

    Raises
    ------
    ModelFileError
        The file is missing, damaged or not a model; the hub has no such model; or the draft model's
        vocabulary is another one.
    UnsupportedModelError
        The file is a model that can't be run.
    ConversionError
        The folder is not a checkpoint that can be converted.
    DeviceError
        The device is missing, or its memory is exhausted.
    InvalidArgumentError
        An option is out of its range.

    Examples
    --------
    >>> from chatglm_cpp import Pipeline
    >>> pipeline = Pipeline()
    >>> message = pipeline.chat("你好", do_sample=False)
    >>> message.role
    'assistant'
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        *,
        dtype: str | None = None,
        max_length: int | None = None,
        device: str = "auto",
        gpu_layers: int | None = None,
        num_threads: int | None = None,
        kv_dtype: str = "f16",
        kv_cache_bytes: int | None = None,
        hub: str = "auto",
        revision: str | None = None,
        adapters: Mapping[str, str | os.PathLike[str]] | None = None,
        speculative: Literal["auto", "off", "lookup"] | None = "auto",
        draft_model: str | os.PathLike[str] | None = None,
    ) -> None:
        model_file = _model_file(model_path, dtype, hub, revision)
        self._core = _core.Pipeline(
            model_file,
            device=device,
            gpu_layers=checked_limit("gpu_layers", gpu_layers),
            num_threads=checked_limit("num_threads", num_threads),
            kv_dtype=kv_dtype,
            kv_cache_bytes=checked_limit("kv_cache_bytes", kv_cache_bytes),
            max_length=checked_limit("max_length", max_length),
            adapters=[
                (checked_text(name, "adapters"), _adapter_file(model_file, Path(path)))
                for name, path in (adapters or {}).items()
            ],
            speculative="off" if speculative is None else checked_text(speculative, "speculative"),
            draft_model=draft_model,
        )
        self.tokenizer = Tokenizer(self._core)
        self.model = Model(self._core)

    @property
    def max_length(self) -> int:
        """The most tokens of one conversation, prompt and answer."""
        return self._core.max_length

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of the LoRA adapters that requests can choose."""
        return tuple(self._core.adapters)

    @property
    def system_info(self) -> str:
        """What computes here: processor, instruction set, threads."""
        return self._core.system_info

    @property
    def stats(self) -> Statistics:
        """What was computed since the pipeline was opened."""
        stats = self._core.stats
        return Statistics(
            steps=stats.steps,
            prompt_tokens_computed=stats.prompt_tokens_computed,
            prompt_tokens_reused=stats.prompt_tokens_reused,
            tokens_generated=stats.tokens_generated,
            tokens_proposed=stats.tokens_proposed,
            tokens_accepted=stats.tokens_accepted,
            preemptions=stats.preemptions,
            kv_bytes_allocated=stats.kv_bytes_allocated,
        )

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        stream: Literal[False] = ...,
        logprobs: bool = ...,
        top_logprobs: int = ...,
        **options: Unpack[Options],
    ) -> ChatMessage: ...
    @overload
    def chat(
        self,
        messages: Messages,
        *,
        stream: Literal[True],
        logprobs: bool = ...,
        top_logprobs: int = ...,
        **options: Unpack[Options],
    ) -> ChatStream: ...
    @overload
    def chat(
        self,
        messages: Messages,
        *,
        stream: bool,
        logprobs: bool = ...,
        top_logprobs: int = ...,
        **options: Unpack[Options],
    ) -> ChatMessage | ChatStream: ...
    def chat(
        self,
        messages: Messages,
        *,
        max_length: int | None = None,
        max_new_tokens: int | None = None,
        max_context_length: int | None = None,
        do_sample: bool = True,
        top_k: int | None = None,
        top_p: float | None = None,
        temperature: float | None = None,
        repetition_penalty: float | None = None,
        min_p: float | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
        bad_words_ids: Sequence[Sequence[int]] | None = None,
        adapter: str | None = None,
        stream: bool = False,
        logprobs: bool = False,
        top_logprobs: int = 0,
    ) -> ChatMessage | ChatStream:
        """Answer a conversation.

        Parameters
        ----------
        messages
            The conversation so far, oldest message first: `ChatMessage` objects or dicts; or one
            str, what the user says. Append the returned message to a list to keep the conversation
            going: what was computed for its beginning is used again.
        max_length
            The most tokens of prompt and answer together; by default the pipeline's.
        max_new_tokens
            The most tokens of the answer; by default what `max_length` leaves.
        max_context_length
            The longest prompt accepted, in tokens; by default `max_length`.
        do_sample
            Draw each token by its probability. False: always take the likeliest, after
            `repetition_penalty` and `bad_words_ids`; the other options here have no effect then.
        top_k
            Draw among this many likeliest tokens; 0 (the default): among all.
        top_p
            Draw among the likeliest tokens that together have this probability, above 0 and at most
            1; by default what the model recommends, mostly 0.8.
        temperature
            Above 0: below 1 sharpens the probabilities, above 1 flattens them; by default what the
            model recommends, mostly 0.8.
        repetition_penalty
            Above 1 disfavours tokens that were there before; by default 1.
        min_p
            Draw among tokens at least this likely, measured by the likeliest, 0 to 1; by default 0.
        seed
            The same seed gives the same answer; None takes another one each time.
        stop
            A text or several; the answer ends before the first of them.
        bad_words_ids
            Sequences of token ids that may not be produced.
        adapter
            The LoRA adapter that answers, one of the pipeline's `adapters`; None: the model itself.
        stream
            Return the answer piece by piece, as it is generated.
        logprobs
            Of a stream: give the logarithm of each token's probability with it.
        top_logprobs
            With `logprobs`: also those of this many likeliest tokens at each place.

        Returns
        -------
        ChatMessage or ChatStream
            The answer; with ``stream=True`` an iterator of `DeltaMessage`, whose
            `ChatStream.message` is the whole answer when it is exhausted.

        Raises
        ------
        ContextLengthError
            The prompt does not fit. It is never cut.
        InvalidArgumentError
            A message or an option is not as described here.
        UnsupportedModelError
            The model is a base model, which knows no conversation: use `generate`.
        ChatGLMError
            The generation failed.

        Examples
        --------
        >>> from chatglm_cpp import ChatMessage, Pipeline
        >>> pipeline = Pipeline()
        >>> history = [ChatMessage("user", "hello")]
        >>> history.append(pipeline.chat(history, do_sample=False))
        >>> [message.role for message in history]
        ['user', 'assistant']

        >>> pieces = pipeline.chat("hello", do_sample=False, stream=True)
        >>> "".join(piece.content for piece in pieces) == history[-1].content
        True
        """
        if logprobs and not stream:
            raise InvalidArgumentError(
                "logprobs come with the pieces of a streamed answer: give stream=True"
            )
        if top_logprobs and not logprobs:
            raise InvalidArgumentError("top_logprobs needs logprobs=True")
        options = core_options(
            self._core.default_sampling,
            max_length=max_length,
            max_new_tokens=max_new_tokens,
            max_context_length=max_context_length,
            do_sample=do_sample,
            top_k=top_k,
            top_p=top_p,
            temperature=temperature,
            repetition_penalty=repetition_penalty,
            min_p=min_p,
            seed=seed,
            stop=stop,
            bad_words_ids=bad_words_ids,
            adapter=adapter,
            top_logprobs=checked_count("top_logprobs", top_logprobs) if logprobs else -1,
        )
        generation = self._core.chat(to_core_messages(messages), options)
        answer = ChatStream(generation, logprobs=logprobs, top_logprobs=top_logprobs > 0)
        return answer if stream else answer.message

    @overload
    def generate(
        self,
        prompt: str,
        *,
        language: str | None = ...,
        stream: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> str: ...
    @overload
    def generate(
        self,
        prompt: str,
        *,
        language: str | None = ...,
        stream: Literal[True],
        **options: Unpack[Options],
    ) -> TextStream: ...
    @overload
    def generate(
        self,
        prompt: str,
        *,
        language: str | None = ...,
        stream: bool,
        **options: Unpack[Options],
    ) -> str | TextStream: ...
    def generate(
        self,
        prompt: str,
        *,
        language: str | None = None,
        max_length: int | None = None,
        max_new_tokens: int | None = None,
        max_context_length: int | None = None,
        do_sample: bool = True,
        top_k: int | None = None,
        top_p: float | None = None,
        temperature: float | None = None,
        repetition_penalty: float | None = None,
        min_p: float | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
        bad_words_ids: Sequence[Sequence[int]] | None = None,
        adapter: str | None = None,
        stream: bool = False,
    ) -> str | TextStream:
        """Continue a text, without any chat format: what base models are for.

        Parameters
        ----------
        prompt
            The text to continue. ``[gMASK] sop`` is put before it, behind it for ChatGLM-6B.
        language
            With CodeGeeX2: the programming language to write, such as ``"python"``. The line that
            the model was trained with (``# language: Python``) is put before the prompt.
        max_length, max_new_tokens, max_context_length, do_sample, top_k, top_p, temperature
            As in `chat`.
        repetition_penalty, min_p, seed, stop, bad_words_ids, adapter, stream
            As in `chat`.

        Returns
        -------
        str or TextStream
            The new text; with ``stream=True`` an iterator of its pieces.

        Raises
        ------
        ContextLengthError, InvalidArgumentError, ChatGLMError
            As in `chat`. An unknown `language` is an `InvalidArgumentError` that lists the known
            ones.
        UnsupportedModelError
            A `language` was given, and the model is not CodeGeeX2.

        Examples
        --------
        >>> from chatglm_cpp import Pipeline
        >>> pipeline = Pipeline()
        >>> text = pipeline.generate("Once upon a time", max_new_tokens=8, seed=1)
        >>> text == pipeline.generate("Once upon a time", max_new_tokens=8, seed=1)
        True
        """
        options = core_options(
            self._core.default_sampling,
            max_length=max_length,
            max_new_tokens=max_new_tokens,
            max_context_length=max_context_length,
            do_sample=do_sample,
            top_k=top_k,
            top_p=top_p,
            temperature=temperature,
            repetition_penalty=repetition_penalty,
            min_p=min_p,
            seed=seed,
            stop=stop,
            bad_words_ids=bad_words_ids,
            adapter=adapter,
            top_logprobs=-1,
        )
        generation = self._core.generate(
            checked_text(prompt, "prompt"), options, _checked_language(language)
        )
        answer = TextStream(generation)
        return answer if stream else answer.text

    def merge_streaming_messages(self, deltas: Iterable[DeltaMessage]) -> ChatMessage:
        """Put the pieces of a streamed answer together, tool calls read.

        Parameters
        ----------
        deltas
            All pieces of one answer, in order.

        Examples
        --------
        >>> from chatglm_cpp import Pipeline
        >>> pipeline = Pipeline()
        >>> stream = pipeline.chat("hello", do_sample=False, stream=True)
        >>> pipeline.merge_streaming_messages(list(stream)) == stream.message
        True
        """
        deltas = list(deltas)
        ids = [token_id for delta in deltas for token_id in delta.token_ids]
        text = "".join(delta.content for delta in deltas)
        return from_core_message(self._core.read_answer(ids, text))


def _checked_language(language: str | None) -> str:
    if language == "":
        raise InvalidArgumentError("language is the name of a programming language or None")
    return "" if language is None else checked_text(language, "language")


def _model_file(
    model_path: str | os.PathLike[str] | None, dtype: str | None, hub: str, revision: str | None
) -> Path:
    if model_path is None:
        path = _demo_model()
    else:
        path = Path(model_path)
        if path.is_dir() or is_name(model_path):
            return converted(model_path, dtype or "q4_0", hub=hub, revision=revision)
    if revision is not None:
        raise InvalidArgumentError(f"revision is of a model on a hub; {path} is a file")
    if dtype is not None:
        raise InvalidArgumentError(
            f"dtype says what a checkpoint folder is converted to; {path} is a model file already"
        )
    return path


def _adapter_file(model_file: Path, path: Path) -> Path:
    return converted_adapter(path, model_file) if path.is_dir() else path


def _demo_model() -> Path:
    named = os.environ.get("CHATGLM_DEMO_MODEL")
    return Path(named) if named else Path(_core.__file__).parent / "models" / _DEMO_MODEL
