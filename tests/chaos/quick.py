"""Values that cost less to make, for runs of many seeds: a fifth of a story is making them.

A frozen dataclass sets each field by a call, and `dataclasses.replace` looks at each field of each
value anew. Here frozen values are made as others are, and replaced by functions that know their
fields. Nobody may set a field of a frozen value: that is for mypy and for all other tests, which
run with the real ones; stories are the same, step by step (test_simulator.py).
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
from types import ModuleType
from typing import Any

OURS = ("chaos", "corechain", "corechain_relayer")
_replacers: dict[type, Callable[..., Any]] = {}


def quicken() -> None:
    """For the rest of this process."""
    for module in _our_modules():
        for cls in list(vars(module).values()):
            if isinstance(cls, type) and cls.__module__ == module.__name__ and _is_frozen(cls):
                _thaw(cls)
        if getattr(module, "replace", None) is dataclasses.replace:
            module.replace = replace  # type: ignore[attr-defined]


def _our_modules() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in OURS and isinstance(module, ModuleType):
            yield module


def _is_frozen(cls: type) -> bool:
    return is_dataclass(cls) and "__setattr__" in vars(cls)


def _thaw(cls: Any) -> None:
    if cls.__dataclass_params__.init:
        cls.__init__ = _init_of(cls)
    del cls.__setattr__


def _init_of(cls: Any) -> Callable[..., None]:
    """As `dataclass` makes it of the same fields, were they not frozen."""
    known = ("default", "default_factory", "init", "kw_only")
    parts = [
        (f.name, Any, field(**{name: getattr(f, name) for name in known})) for f in fields(cls)
    ]
    after = {"__post_init__": cls.__post_init__} if hasattr(cls, "__post_init__") else {}
    twin: Any = make_dataclass(cls.__name__, parts, namespace=after)
    init: Callable[..., None] = twin.__init__
    return init


def replace(value: Any, /, **changes: Any) -> Any:
    """As `dataclasses.replace`."""
    cls = value.__class__
    replacer = _replacers.get(cls)
    if replacer is None:
        replacer = _replacers[cls] = _replacer_of(cls)
    return replacer(value, **changes)


def _replacer_of(cls: type) -> Callable[..., Any]:
    names = [f.name for f in fields(cls) if f.init]
    takes = "".join(f", {name}=MISSING" for name in names)
    gives = ", ".join(f"{n}=old.{n} if {n} is MISSING else {n}" for n in names)
    made: dict[str, Any] = {"cls": cls, "MISSING": MISSING}
    exec(f"def replaced(old, /{takes}): return cls({gives})", made)
    replacer: Callable[..., Any] = made["replaced"]
    return replacer
