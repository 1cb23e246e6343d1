"""A process that has imported everything once and forks a child for each job: a kill costs milliseconds.

As a module: :class:`Nursery`, for the tests. As a script: the process itself, which reads orders from stdin. It never
runs a job itself, has no threads and no open HDF5 file, so that its children start clean.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from clipfuse_cache.times import TIMES

HANG_SECONDS = 240
"""Nothing here takes a hundredth of it: who has not ended by then hangs, on the busiest machine, too."""


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    ``code``: its exit code, or minus the signal that ended it. ``value``: what the job returned. ``error``: the name of
    the exception's class, ``message`` its text. ``hung``: it had to be killed because it did not end.
    """

    code: int
    hung: bool
    value: object
    error: str
    message: str
    stdout: str
    stderr: str

    def ended_well(self):
        """The job's value. Fails where it raised or was killed."""
        assert (self.code, self.error, self.hung) == (0, "", False), (self.code, self.message, self.stderr)
        return self.value


class Child:
    """A job under way."""

    def __init__(self, nursery, pid, folder):
        self.pid = pid
        self._nursery, self._folder, self._outcome = nursery, folder, None

    def send(self, number):
        """Send it a signal. It is not gone before it is waited for, so its number is its own."""
        os.kill(self.pid, number)

    def wait(self):
        """Its outcome, once it has ended."""
        if self._outcome is None:
            said = self._nursery.ask(do="wait", pid=self.pid)
            texts = ((self._folder / name).read_text(errors="replace") for name in ("stdout", "stderr"))
            self._outcome = Outcome(said["code"], said["hung"], *said["outcome"], *texts)
        return self._outcome


class Nursery:
    """The process with everything imported. ``prefix``: a command that runs it (in a name space of its own, say)."""

    def __init__(self, prefix=()):
        self._folder = tempfile.TemporaryDirectory(prefix="nursery-")
        self._count = 0
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [*prefix, sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, **order):
        """Give an order and read the answer."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the nursery has ended ({self._process.wait()})"
        return json.loads(line)

    def start(self, job, *arguments, fault="", file=None, **settings):
        """Start ``job`` (a function of ``fault_jobs``). ``fault``, ``file``: its CLIPFUSE_FAULT and
        CLIPFUSE_FAULT_FILE. Other settings: see ``_grow_up``."""
        self._count += 1
        folder = Path(self._folder.name, str(self._count))
        folder.mkdir()
        for name in ("stdout", "stderr"):  # a child can be killed before it has any
            (folder / name).touch()
        environment = {**settings.pop("environment", {}), "CLIPFUSE_FAULT": fault}
        environment["CLIPFUSE_FAULT_FILE"] = "" if file is None else str(file)
        arguments = [str(one) if isinstance(one, Path) else one for one in arguments]
        order = {"job": job, "arguments": arguments, "environment": environment, "folder": str(folder), **settings}
        return Child(self, self.ask(do="start", **order)["pid"], folder)

    def run(self, job, *arguments, **settings):
        """Start ``job`` and wait for its outcome."""
        return self.start(job, *arguments, **settings).wait()

    def stop_at(self, point, job, *arguments, file, **settings):
        """Start ``job`` and wait until it stands still at ``point``; it goes on when ``file`` is removed."""
        file.unlink(missing_ok=True)
        child = self.start(job, *arguments, fault=f"{point}=stop", file=file, **settings)
        while not file.exists():
            assert self.ask(do="look", pid=child.pid)["alive"], f"it never came to {point}: {child.wait()}"
            time.sleep(0.002)
        return child

    def close(self):
        """End it, and what is left of its children."""
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


def contents(folder):
    """Everything below ``folder``: path -> bytes; but not how long it took, which is another figure each time."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != TIMES]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def main():
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    import fault_jobs

    gc.freeze()  # a child that ends as any program does would spend a second on what was here before it
    sys.dont_write_bytecode = True  # a child that has no room for files would leave half of a module for all to read
    pipes = {}
    for line in orders:
        order = json.loads(line)
        if order["do"] == "start":
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                _grow_up(**order)
                _live(getattr(fault_jobs, order["job"]), order, writing)
            os.close(writing)
            pipes[pid], answer = reading, {"pid": pid}
        elif order["do"] == "look":
            ended = os.waitid(os.P_PID, order["pid"], os.WEXITED | os.WNOHANG | os.WNOWAIT)
            answer = {"alive": ended is None}
        else:
            answer = _wait(order["pid"], pipes.pop(order["pid"]))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    for pid in pipes:
        os.kill(pid, signal.SIGKILL)


def _wait(pid, pipe):
    until, hung = time.monotonic() + HANG_SECONDS, False
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > until and not hung:
            hung = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with os.fdopen(pipe) as file:
        outcome = json.loads(file.read() or '[null, "", ""]')
    return {"code": code, "hung": hung, "outcome": outcome}


def _grow_up(*, folder, environment, memory=None, file_size=None, processor=None, stdout="file", **_):
    """The child's own streams, environment, signals and limits.

    ``memory``: bytes that it may take beyond what it was born with; ``file_size``: of the largest file that it may
    write; ``processor``: seconds; ``stdout`` "closed": a pipe that nobody reads.
    """
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    if stdout == "closed":
        reading, out = os.pipe()
        os.close(reading)
    else:
        out = os.open(Path(folder, "stdout"), os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(os.open(Path(folder, "stderr"), os.O_WRONLY), 2)
    if memory is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)
    if file_size is not None:
        _limit(resource.RLIMIT_FSIZE, file_size)
    if processor is not None:
        _limit(resource.RLIMIT_CPU, processor)


def _limit(which, value):
    resource.setrlimit(which, (value, resource.getrlimit(which)[1]))


def _live(job, order, pipe):
    """Run the job to the child's end. Its value goes through a pipe, which no limit on files holds back."""
    code, outcome = 0, (None, "", "")
    try:
        outcome = (job(*order["arguments"]), "", "")
    except SystemExit as end:  # a command
        if order.get("stdout") == "closed":  # as any Python program ends, buffers and all; it takes its time
            os.close(pipe)
            raise
        code = end.code or 0
    except BaseException as error:
        _limit(resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)[1])  # stderr is a file, too
        traceback.print_exc()
        code, outcome = 1, (None, type(error).__name__, str(error)[:2000])
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(pipe, json.dumps(outcome).encode())
    os._exit(code)


if __name__ == "__main__":
    main()
