"""Understands the pickle of a PyTorch checkpoint without running it.

A pickle is a program for a stack machine, and ``pickle.load`` lets it call any function. Here the
program is interpreted by hand: the few operations that ``torch.save`` of a state dict needs are
known, they build plain containers and inert records, and every other operation or global name is
refused by its name. Knows no file and reads no tensor data.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import ConversionError

# torch storage class -> element type in safetensors' spelling.
_STORAGE_TYPES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}


@dataclass(frozen=True)
class StorageRef:
    """A block of elements: its type, its name in the archive, its length."""

    dtype: str
    key: str
    num_elements: int


@dataclass(frozen=True)
class TensorRef:
    """A view of a storage; offset and strides count elements."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Global:
    """A name that the pickle mentions. It is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


_MARK = object()


class _RefusedError(Exception):
    """The program does something that a state dict does not need."""


def read_state_dict(program: bytes) -> dict[str, TensorRef]:
    """Interpret the pickle of a state dict.

    Raises
    ------
    ConversionError
        The pickle is damaged, holds something other than tensors, or asks for anything that a
        state dict does not need; nothing of it was executed.
    """
    try:
        result = _Machine().run(program)
    except _RefusedError as refused:
        raise ConversionError(f"refused: {refused}; nothing of the pickle was executed") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error) as error:
        raise ConversionError(f"the pickle is damaged ({error})") from error
    if type(result) is not dict:
        raise ConversionError(f"expected a dictionary of tensors, found {_kind(result)}")
    for name, value in result.items():
        if type(name) is not str or type(value) is not TensorRef:
            raise ConversionError(
                f"expected a dictionary of tensors, found {_kind(value)} under {name!r}"
            )
    return result


def _kind(value: object) -> str:
    return f"the global {value}" if isinstance(value, _Global) else f"a {type(value).__name__}"


class _Machine:
    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        for opcode, argument, position in pickletools.genops(program):
            if opcode.name == "STOP":
                return self._pop()
            operation = _OPERATIONS.get(opcode.name)
            if operation is None:
                raise _RefusedError(
                    f"the pickle uses the operation {opcode.name} at byte {position}"
                )
            operation(self, argument)
        raise ValueError("it ends without STOP")

    # The stack.

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value was expected")
        return value

    def _pop_to_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise ValueError("no mark on the stack")

    def _top(self, expected: type) -> Any:
        if type(self._stack[-1]) is not expected:
            raise ValueError(f"expected a {expected.__name__}, found {_kind(self._stack[-1])}")
        return self._stack[-1]

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def push_tuple(self, size: int) -> None:
        self._stack.append(tuple(reversed([self._pop() for _ in range(size)])))

    def push_tuple_to_mark(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def memoize(self, index: int | None) -> None:
        value = self._pop()
        self._memo[len(self._memo) if index is None else index] = value
        self._stack.append(value)

    def recall(self, index: int) -> None:
        self._stack.append(self._memo[index])

    # Containers.

    def append(self, _: Any) -> None:
        item = self._pop()
        self._top(list).append(item)

    def extend(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._top(list).extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def set_items(self, _: Any) -> None:
        self._set_items(self._pop_to_mark())

    def _set_items(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a tuple nested a million times would overflow the C stack.
            if type(key) not in (str, int):
                raise ValueError(f"expected a name as a dictionary key, found {_kind(key)}")
            if key in target:
                raise ValueError(f"the name {key!r} stands twice")
            target[key] = value

    # What looks like code.

    def push_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_global(module, name)

    def push_stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise ValueError("a global without a name")
        self._push_global(module, name)

    def _push_global(self, module: str, name: str) -> None:
        known = module == "torch" and name in _STORAGE_TYPES
        if not known and (module, name) not in _CONSTRUCTORS:
            raise _RefusedError(f"the pickle asks for {module}.{name}")
        self._stack.append(_Global(module, name))

    def reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if type(arguments) is not tuple:
            raise ValueError("a call without arguments")
        constructor = (
            _CONSTRUCTORS.get((function.module, function.name))
            if type(function) is _Global
            else None
        )
        if constructor is None:
            raise _RefusedError(f"the pickle calls {_kind(function)}")
        self._stack.append(constructor(arguments))

    def build(self, _: Any) -> None:
        """Drop the attribute of a state dict: version numbers, which nobody needs."""
        self._pop()
        self._top(dict)

    def push_storage(self, _: Any) -> None:
        match self._pop():
            case ("storage", _Global(name=kind), str(key), str(), int(count)) if (
                kind in _STORAGE_TYPES and type(count) is int and count >= 0
            ):
                self._stack.append(StorageRef(_STORAGE_TYPES[kind], key, count))
            case _:
                raise ValueError("a storage reference of an unknown form")


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if arguments:
        raise ValueError("an OrderedDict with arguments")
    return {}


def _tensor(arguments: tuple[Any, ...]) -> TensorRef:
    match arguments:
        case (StorageRef() as storage, int(offset), tuple(shape), tuple(strides), *_) if len(
            shape
        ) == len(strides) and all(
            type(size) is int and size >= 0 for size in (offset, *shape, *strides)
        ):
            return TensorRef(storage, offset, shape, strides)
        case _:
            raise ValueError("a tensor of an unknown form")


def _parameter(arguments: tuple[Any, ...]) -> TensorRef:
    match arguments:
        case (TensorRef() as tensor, *_):
            return tensor
        case _:
            raise ValueError("a parameter that is not a tensor")


# Every global that the pickle may call, and the inert record that the call stands for.
_CONSTRUCTORS: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


def _ignore(_machine: _Machine, _argument: Any) -> None:
    pass


def _constant(value: Any) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(value)


def _tuple_of(size: int) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push_tuple(size)


_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _ignore,
    "FRAME": _ignore,
    "MARK": _constant(_MARK),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    **dict.fromkeys(
        (
            "BININT",
            "BININT1",
            "BININT2",
            "LONG1",
            "BINFLOAT",
            "BINUNICODE",
            "SHORT_BINUNICODE",
        ),
        _Machine.push,
    ),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": _Machine.push_tuple_to_mark,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.memoize),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.recall),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.push_global,
    "STACK_GLOBAL": _Machine.push_stack_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.push_storage,
}
