"""Fail points: named places in the code at which a test can let something go wrong.

A point is passed by ``point("rename:manifest.json")`` and does nothing unless the environment variable
``CLIPFUSE_FAULT`` says what shall happen there::

    CLIPFUSE_FAULT="rename:manifest.json=kill"            at that point
    CLIPFUSE_FAULT="half:shard-*#3=nospace"               the third time that a point of such a name is passed
    CLIPFUSE_FAULT="encode#2=stop;sync:samples.h5=error"  several; the first that fits acts

A name is a pattern (``*``, ``?``, ``[…]``). Without ``#N`` it acts every time. The actions:

=========  =========================================================================================
kill       SIGKILL to this process
term, int  SIGTERM, SIGINT to this process
nospace    OSError "no space left on device"
error      OSError "input/output error"
stop       writes the point's name to the file that ``CLIPFUSE_FAULT_FILE`` names and waits until that file
           is gone: a test can act on a process that stands exactly there
note       adds a line with the point's name to that file
=========  =========================================================================================

The points of :func:`clipfuse_cache.atomic.write_bytes` for a file NAME, in their order: ``temporary:NAME`` before the
temporary file is made, ``lock:NAME`` before it is locked, ``half:NAME`` with half of the bytes written, ``sync:NAME``
before they are flushed to disk, ``rename:NAME`` and ``renamed:NAME`` before and after the file gets its name,
``folder:NAME`` before its folder is flushed. Of :func:`clipfuse_cache.atomic.append_line`: ``append:NAME`` before the
file is opened, then ``half:NAME`` and ``sync:NAME``.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from clipfuse_cache.errors import CacheError

VARIABLE = "CLIPFUSE_FAULT"
FILE_VARIABLE = "CLIPFUSE_FAULT_FILE"

_SIGNALS = {"kill": "SIGKILL", "term": "SIGTERM", "int": "SIGINT"}
_ERRORS = {"nospace": errno.ENOSPC, "error": errno.EIO}
_ACTIONS = (*_SIGNALS, *_ERRORS, "stop", "note")
_WAIT_SECONDS = 0.005


def point(name: str) -> None:
    """Pass the fail point ``name``. Nothing happens where ``CLIPFUSE_FAULT`` is not set.

    Raises:
        OSError: the action "nospace" or "error".
        CacheError: the variable's value makes no sense.
    """
    value = os.environ.get(VARIABLE)
    if value:
        _plan.pass_by(value, name)


@contextmanager
def armed(value: str, file: Path | None = None) -> Iterator[None]:
    """Within the block ``CLIPFUSE_FAULT`` is ``value`` (and ``CLIPFUSE_FAULT_FILE`` is ``file``), counted from one."""
    changed = {VARIABLE: value} if file is None else {VARIABLE: value, FILE_VARIABLE: str(file)}
    before = {variable: os.environ.get(variable) for variable in changed}
    _plan.forget()
    os.environ.update(changed)
    try:
        yield
    finally:
        for variable, old in before.items():
            if old is None:
                del os.environ[variable]
            else:
                os.environ[variable] = old


@dataclass
class _Rule:
    pattern: str
    number: int | None
    action: str
    passed: int = 0


class _Plan:
    """The rules of the variable's present value, and how often each was met."""

    def __init__(self) -> None:
        self._value = ""
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()

    def forget(self) -> None:
        self._value = ""

    def pass_by(self, value: str, name: str) -> None:
        with self._lock:
            if value != self._value:
                self._rules, self._value = _parse(value), value
            action = None
            for rule in self._rules:
                if fnmatchcase(name, rule.pattern):
                    rule.passed += 1
                    if action is None and rule.number in (None, rule.passed):
                        action = rule.action
        if action is not None:
            _act(action, name)


_plan = _Plan()


def _parse(value: str) -> list[_Rule]:
    rules = []
    for part in value.split(";"):
        left, equals, action = part.strip().rpartition("=")
        pattern, hashed, number = left.partition("#")
        if not (equals and pattern and action in _ACTIONS) or (hashed and not (number.isdecimal() and int(number))):
            raise CacheError(
                f"{VARIABLE} has {part!r}, expected NAME=ACTION or NAME#N=ACTION",
                f"The actions are {', '.join(_ACTIONS)}; unset the variable where no fault is wanted",
            )
        rules.append(_Rule(pattern, int(number) if hashed else None, action))
    return rules


def _act(action: str, name: str) -> None:
    if action in _SIGNALS:
        os.kill(os.getpid(), getattr(signal, _SIGNALS[action]))
    elif action in _ERRORS:
        raise OSError(_ERRORS[action], os.strerror(_ERRORS[action]))
    else:
        file = os.environ.get(FILE_VARIABLE)
        if not file:
            raise CacheError(f"{VARIABLE} asks for {action!r}, which needs a file", f"Name it in {FILE_VARIABLE}")
        if action == "note":
            with Path(file).open("a", encoding="utf-8") as notes:
                notes.write(f"{name}\n")
        else:
            _stand_still(Path(file), name)


def _stand_still(file: Path, name: str) -> None:
    whole = file.with_name(f"{file.name}.{os.getpid()}")
    whole.write_text(name, encoding="utf-8")
    whole.replace(file)  # who waits for it finds it complete
    while file.exists():
        time.sleep(_WAIT_SECONDS)
