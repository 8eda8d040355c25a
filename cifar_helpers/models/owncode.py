"""Networks of the reader's own: which are registered, and what their code is, so that a changed one is noticed.

``digest`` follows everything that a class runs: its methods with the code nested in them, their defaults and closures,
what decorators wrap, properties, base classes, and the reader's own functions, classes and values that it names. Names
of files, line numbers, addresses and the order of sets do not count: they differ between two processes.
"""

import dataclasses
import dis
import enum
import functools
import hashlib
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import nn

REGISTERED: dict[str, type[nn.Module]] = {}  # by name; outlives a reload of ``models``, where configs find them
COURSE = __name__.partition(".")[0]
PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes, range, slice, PurePath, np.generic)
PLAIN += (torch.dtype, torch.device, torch.memory_format)
BOOKKEEPING = {"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__annotations__"}
BOOKKEEPING |= {"__static_attributes__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__slotnames__"}
LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
LINKS = {
    property: ("fget", "fset", "fdel"),
    types.MethodType: ("__func__", "__self__"),
    (staticmethod, classmethod): ("__func__",),
    (functools.partial, functools.partialmethod): ("func", "args", "keywords"),
    (functools.cached_property, functools.singledispatchmethod): ("func",),
}


def is_registered(network) -> bool:
    """Whether this is a registered class."""
    return network in REGISTERED.values()


def digest(network: type) -> str:
    """SHA-256 over everything that the class runs, as it stands now; the same in every process of one Python version.

    What is installed, Python's or the course's counts by its name alone. Taken again each time, since a helper may be
    redefined in a cell of its own; so a value that the network itself changes while it runs counts as other code.
    """
    return _Reader().digest(network)


@functools.cache
def _is_own(module: str | None) -> bool:
    """Whether a module is the reader's: a notebook, a script, or a file that neither Python nor the course brought."""
    root = (module or "__main__").partition(".")[0]
    if root == "__main__":
        return True
    if root in sys.stdlib_module_names or root == COURSE:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and not {"site-packages", "dist-packages"} & set(Path(file).parts)


class _Reader:
    """Reads values into a hash; what it has met already is named by its number, so circles end."""

    def __init__(self, met: dict[int, int] | None = None):
        self.met = dict(met or {})
        self.alive: list = []  # an address is free for another value once its own is gone

    def digest(self, value) -> str:
        found = hashlib.sha256()
        for part in self._parts(value):
            found.update(f"{part}\n".encode(errors="surrogatepass"))
        return found.hexdigest()

    def _parts(self, value) -> Iterator[str]:
        if isinstance(value, enum.Enum):
            yield f"{type(value).__qualname__}.{value.name}"
        elif isinstance(value, PLAIN):
            yield f"{type(value).__name__} {value!r}"
        elif isinstance(value, set | frozenset):
            yield f"set {sorted(_Reader(self.met).digest(item) for item in value)}"
        elif isinstance(value, tuple):  # equal ones may be one object in this process, and two in the next
            yield f"{type(value).__name__} of {len(value)}"
            for item in value:
                yield from self._parts(item)
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:  # its bytes are addresses
            yield from self._parts(value.tolist())
        elif isinstance(value, torch.Tensor | np.ndarray):
            yield from _array(value)
        elif id(value) in self.met:
            yield f"again {self.met[id(value)]}"
        else:
            self.met[id(value)] = len(self.met)
            self.alive.append(value)
            yield from self._compound(value)

    def _compound(self, value) -> Iterator[str]:
        kind = type(value)
        if isinstance(value, types.FunctionType):
            yield from self._function(value)
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, types.ModuleType):
            yield f"module {value.__name__}"
        elif isinstance(value, list):
            yield f"list of {len(value)}"
            for item in value:
                yield from self._parts(item)
        elif isinstance(value, dict | types.MappingProxyType):
            yield from self._named(value)
        elif dataclasses.is_dataclass(kind) and not _is_own(kind.__module__):
            yield f"{kind.__module__}.{kind.__qualname__}"
            yield from self._named({each.name: getattr(value, each.name, None) for each in dataclasses.fields(kind)})
        elif _is_own(kind.__module__) or isinstance(value, nn.Module):
            yield from self._parts(kind)  # its mode is not code: a shared layer is switched to and fro
            yield from self._named({name: part for name, part in _state(value).items() if name != "training"})
        else:  # how else an object of a library looks inside may differ between two processes
            name = getattr(value, "__qualname__", None)
            yield f"{kind.__module__}.{kind.__qualname__} {name if isinstance(name, str) else ''}"
            yield from self._linked(value)

    def _linked(self, value) -> Iterator[str]:
        """What a method, a decorator's object or a partial function calls."""
        names = [name for kinds, links in LINKS.items() if isinstance(value, kinds) for name in links]
        if callable(value) and "__wrapped__" in getattr(value, "__dict__", {}):
            names.append("__wrapped__")
        yield from self._named({name: getattr(value, name) for name in names})

    def _named(self, values: Mapping) -> Iterator[str]:
        yield f"{len(values)} names"
        for name, value in values.items():
            yield from self._parts(name)
            yield from self._parts(value)

    def _class(self, value: type) -> Iterator[str]:
        if not _is_own(value.__module__):
            yield f"class {value.__module__}.{value.__qualname__}"
            return
        yield "class"
        yield from self._parts(value.__bases__)
        yield from self._parts(type(value))
        yield from self._named({name: vars(value)[name] for name in sorted(vars(value)) if name not in BOOKKEEPING})

    def _function(self, value: types.FunctionType) -> Iterator[str]:
        # A decorated function bears the module and the name of what it wraps: its code tells whose it is.
        module = value.__globals__.get("__name__")
        if _is_own(module):
            yield from self._code(value.__code__, value.__globals__)
            yield from self._parts(value.__defaults__)
            yield from self._parts(dict(sorted((value.__kwdefaults__ or {}).items())))
        else:
            yield f"function {module}.{value.__code__.co_qualname}"
        for cell in value.__closure__ or ():
            try:
                yield from self._parts(cell.cell_contents)
            except ValueError:
                yield "an empty cell"
        yield from self._linked(value)

    def _code(self, code: types.CodeType, names: dict) -> Iterator[str]:
        """The instructions with what they are given, and the global values that they name."""
        yield f"code {code.co_flags} {code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount}"
        yield f"{code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]} {code.co_exceptiontable.hex()}"
        line = code.co_firstlineno if "__firstlineno__" in code.co_names else None  # an inner class notes it
        for each in dis.get_instructions(code):
            yield each.opname
            if isinstance(each.argval, types.CodeType):
                yield from self._code(each.argval, names)
            elif line is None or each.argval != line:
                yield from self._parts(each.argval)
            if each.opname in LOADS and each.argval in names:
                yield from self._global(names[each.argval], code)
            elif each.opname == "IMPORT_NAME" and each.argval in sys.modules:
                yield from self._global(sys.modules[each.argval], code)

    def _global(self, value, code: types.CodeType) -> Iterator[str]:
        yield from self._parts(value)
        if isinstance(value, types.ModuleType) and _is_own(value.__name__):
            known = vars(value)
            yield from self._named({name: known[name] for name in code.co_names if name in known})


def _array(value: torch.Tensor | np.ndarray) -> Iterator[str]:
    if isinstance(value, torch.Tensor):
        yield f"{type(value).__name__} {value.dtype} {tuple(value.shape)} {value.requires_grad}"
        if value.layout != torch.strided or value.is_meta:
            return
        value = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    yield f"{value.dtype} {value.shape} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"


def _state(value) -> dict:
    """An object's attributes, those in slots too."""
    slots = [name for kind in type(value).__mro__ for name in vars(kind).get("__slots__", ()) if hasattr(value, name)]
    return {name: getattr(value, name) for name in sorted(slots)} | getattr(value, "__dict__", {})
