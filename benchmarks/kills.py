"""Kill -9 an extraction at random moments, again and again, and compare every byte with an uninterrupted one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import open_data, parser, report

from clipfuse_cache.times import TIMES


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--encoder", default="mini")
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--shard-rows", type=int, default=64)
    chosen = options.parse_args()
    if chosen.quick:
        chosen.rows, chosen.kills = 120, 2
    moments = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, images = chosen.data, chosen.images
        if table is None:
            open_data(chosen, folder / "data")
            table, images = folder / "data" / "scenes.csv", folder / "data" / "images"
        command = [str(Path(sys.executable).with_name("clipfuse")), "extract", str(table.resolve())]
        command += ["--images", str(images.resolve()), "--encoder", chosen.encoder]
        command += ["--shard-rows", str(chosen.shard_rows)]
        started = time.perf_counter()
        subprocess.run([*command, "--cache", "whole"], cwd=folder, check=True, capture_output=True)
        seconds = time.perf_counter() - started
        killed = 0
        while killed < chosen.kills:
            process = subprocess.Popen(
                [*command, "--cache", "killed"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                process.wait(moments.uniform(0.3, 1.0) * seconds)
                remove_tables(folder / "killed")  # it was through: once more from the start
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
        subprocess.run([*command, "--cache", "killed"], cwd=folder, check=True, capture_output=True)
        whole, resumed = contents(folder / "whole"), contents(folder / "killed")
        same = sum(whole[path] == resumed.get(path) for path in whole)
        rows = [
            {
                "kills": killed,
                "files": len(whole),
                "byte for byte the same": same,
                "extra files": len(resumed.keys() - whole.keys()),
                "seconds of one run": seconds,
            }
        ]
    report("kills", chosen, rows, {"encoder": chosen.encoder})
    if same != len(whole) or len(resumed) != len(whole):
        sys.exit("the bytes differ")


def contents(cache: Path) -> dict[str, bytes]:
    """Everything under a cache but how long it took, which is never the same, and leftovers of killed writers."""
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in sorted(cache.rglob("*"))
        if path.is_file() and path.suffix != ".tmp" and path.name != TIMES
    }


def remove_tables(cache: Path) -> None:
    for path in sorted((cache / "tables").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


if __name__ == "__main__":
    main()
