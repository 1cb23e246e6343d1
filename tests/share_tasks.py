"""What fresh processes do in test_extract_processes: they import this by name."""

import os
import signal
import time

from clipfuse.errors import EncoderError


def note_share(folder, share, progress):
    """Leave a file that says what this process saw."""
    progress("work", share.index + 1, 2)
    gpus = os.environ["CUDA_VISIBLE_DEVICES"]
    (folder / str(share.index)).write_text(f"{share.count} {gpus} {os.getpid()}")
    return f"share {share.index}"


def fail_second(folder, share, progress):
    if share.index == 1:
        raise EncoderError("no weights", "Get some")
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(600)  # the other one is ended, it does not end by itself


def killed(_folder, share, _progress):
    if share.index == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def mistaken(_folder, _share, _progress):
    raise ValueError("our own mistake")
