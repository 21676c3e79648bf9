"""Put one deliberate bug after another into a copy of the checkout, and see that the tests find it.

    python scripts/mutate.py [--only NAME ...] [--jobs N] [--json FILE] [--timeout SECONDS] [--unchecked]

The bugs stand in scripts/mutants/*.toml, each a table [[mutant]]: `name`, `file`, `text` (which occurs once in the
file), `becomes`, `tests` (files or test ids that should fail), perhaps a `keyword` (of pytest's -k) that their ids must
have, and for a change that changes no result `equivalent`, the reason. The tests are run without any bug first. A bug
in csrc is compiled, what depends on it alone. Exit 1 if a bug survives that is not equivalent, if one that is called
equivalent is found, or if one does not compile. Needs git, cmake, ninja and pybind11 beside what the tests need.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.working_copy import ROOT, WorkingCopy

FOLDER = ROOT / "scripts" / "mutants"


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A deliberate bug, and the tests that should find it."""

    name: str
    file: str
    text: str
    becomes: str
    tests: tuple[str, ...]
    keyword: str = ""
    equivalent: str = ""

    @property
    def compiled(self) -> bool:
        return self.file.startswith("csrc/")

    def written_into(self, source: str) -> str:
        """The text of the file with the bug. Raises ValueError unless the place is there exactly once."""
        count = source.count(self.text)
        if count != 1:
            raise ValueError(
                f"mutant {self.name}: its text occurs {count} times in {self.file}; mend the entry."
            )
        return source.replace(self.text, self.becomes)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a mutant: "caught", "survived", "equivalent" (survived as it should) or "broken"."""

    name: str
    file: str
    status: str
    seconds: float
    reason: str

    @property
    def wanted(self) -> bool:
        return self.status in ("caught", "equivalent")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="mutants whose name contains one of these")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time, each in a copy of its own")
    parser.add_argument("--json", type=Path, help="write the outcomes to this file")
    parser.add_argument(
        "--timeout", type=float, default=600.0, help="seconds after which a mutant counts as caught"
    )
    parser.add_argument(
        "--unchecked", action="store_true", help="leave out the run of the tests without any bug"
    )
    options = parser.parse_args(arguments)
    mutants = [m for m in read_mutants() if not options.only or any(part in m.name for part in options.only)]
    if not mutants:
        parser.error("no mutant has such a name")
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="refkp-mutants-") as folder:
        for outcome in judge_all(mutants, Path(folder), options):
            outcomes.append(outcome)
            print(
                f"{outcome.status:10} {outcome.seconds:6.1f} s  {outcome.name}: {outcome.reason}", flush=True
            )
    if options.json:
        options.json.write_text(
            json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=1) + "\n"
        )
    counts = {
        status: sum(o.status == status for o in outcomes) for status in sorted({o.status for o in outcomes})
    }
    print(f"{len(outcomes)} mutants: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    return 0 if all(outcome.wanted for outcome in outcomes) else 1


def read_mutants(folder: Path = FOLDER) -> list[Mutant]:
    """The mutants of every file, those of one source file together. Raises ValueError for a name given twice."""
    tables = [
        table for path in sorted(folder.glob("*.toml")) for table in tomllib.loads(path.read_text())["mutant"]
    ]
    mutants = [Mutant(**{**table, "tests": tuple(table["tests"])}) for table in tables]
    names = [mutant.name for mutant in mutants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"mutants: names must be unique; given twice: {', '.join(twice)}.")
    return sorted(mutants, key=lambda mutant: (not mutant.compiled, mutant.file))


def judge_all(mutants: Sequence[Mutant], folder: Path, options: argparse.Namespace) -> Iterator[Outcome]:
    """The outcome of each, in order. Raises RuntimeError if the tests fail without a bug."""
    benches: SimpleQueue[Bench] = SimpleQueue()
    for job in range(min(options.jobs, len(mutants))):
        benches.put(Bench(folder / str(job)))
    first = benches.get()
    for keyword in [] if options.unchecked else sorted({mutant.keyword for mutant in mutants}):
        first.check(
            sorted({test for mutant in mutants if mutant.keyword == keyword for test in mutant.tests}),
            keyword,
        )
    benches.put(first)

    def judge(mutant: Mutant) -> Outcome:
        bench = benches.get()
        try:
            return bench.judge(mutant, options.timeout)
        finally:
            benches.put(bench)

    with ThreadPoolExecutor(options.jobs) as pool:
        yield from pool.map(judge, mutants)


class Bench:
    """A working copy that takes one mutant at a time, with what was compiled without one."""

    def __init__(self, folder: Path) -> None:
        self.copy = WorkingCopy(folder / "copy")
        self.copy.build()
        self.clean_build = folder / "clean"
        shutil.copytree(self.copy.folder / "build", self.clean_build, symlinks=True)

    def check(self, tests: Sequence[str], keyword: str) -> None:
        failure = self._failure(tests, keyword, None)
        if failure is not None:
            raise RuntimeError(f"mutate: the tests must pass without a bug; got {failure}. Mend them first.")

    def judge(self, mutant: Mutant, timeout: float) -> Outcome:
        path, start = self.copy.folder / mutant.file, time.perf_counter()
        kept = path.with_name(path.name + ".kept")
        shutil.copy2(path, kept)
        try:
            path.write_text(mutant.written_into(kept.read_text()))
            if mutant.compiled:
                self.copy.build()
            status, reason = self._verdict(mutant, timeout)
        except subprocess.CalledProcessError as error:
            status, reason = "broken", f"does not compile: {error.stdout[-1000:]}"
        finally:
            kept.replace(path)  # with its time, so that nothing is compiled again
            if mutant.compiled:
                self._restore_build()
        return Outcome(mutant.name, mutant.file, status, time.perf_counter() - start, reason)

    def _verdict(self, mutant: Mutant, timeout: float) -> tuple[str, str]:
        failure = self._failure(mutant.tests, mutant.keyword, timeout)
        if mutant.equivalent:
            return (
                ("equivalent", mutant.equivalent)
                if failure is None
                else ("broken", f"not equivalent: {failure}")
            )
        return ("survived", "no test failed") if failure is None else ("caught", failure)

    def _failure(self, tests: Sequence[str], keyword: str, timeout: float | None) -> str | None:
        """The first failure of the tests, or None."""
        try:
            chosen = ("-k", keyword) if keyword else ()
            done = self.copy.run(
                *("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *chosen, *tests), timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return f"not done after {timeout:g} s"
        if done.returncode == 0:
            return None
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return failed[0] if failed else f"exit {done.returncode}: {(done.stdout + done.stderr)[-500:]}"

    def _restore_build(self) -> None:
        build = self.copy.folder / "build"
        shutil.rmtree(build)
        shutil.copytree(self.clean_build, build, symlinks=True)
        (library,) = build.glob("_C*")
        shutil.copy2(library, self.copy.folder / "python" / "refkp")


if __name__ == "__main__":
    sys.exit(main())
