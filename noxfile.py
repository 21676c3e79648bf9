"""Tasks: `nox --list` names them, `nox -s NAME` runs one, `nox -s NAME -- ARGS` adds arguments.

A fresh machine needs Python 3.11 or newer with venv and a C++ compiler. Environments live under .nox, are
made once and shared by the sessions; the wheel is built once per state of the sources.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "none"  # see `environment`: nox itself cannot share one between sessions
nox.options.sessions = ["lint", "types", "tests", "golden"]

ROOT = Path(__file__).parent
SHARED = ROOT.parent / "shared"
#: Installed before all else, so that no other package chooses a build of torch.
TORCH = "torch==2.13.0"
#: What the extra `pytorch3d` asks for.
PYTORCH3D = "easypytorch3d>=0.7.9,<0.8"


@nox.session
def tests(session: nox.Session) -> None:
    """Every test but the slow ones, a worker on each core, with everything a user may install."""
    workers = f"-n={min(4, os.cpu_count() or 1)}", "--dist=loadfile"  # a file's fixtures are made once
    # Workers that compute on every core wait for each other's threads longer than they compute.
    one = {"OMP_NUM_THREADS": "1"}
    run(session, full(session), "pytest", "-m", "not slow", *workers, *session.posargs, **one)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests marked slow."""
    run(session, full(session), "pytest", "-m", "slow", *session.posargs)


@nox.session
def tests_bare(session: nox.Session) -> None:
    """The tests with torch and numpy alone: what needs an extra is skipped with a reason."""
    bare = environment(session, "bare", extras="", tools=("pytest>=8.3", "hypothesis>=6.120"))
    run(session, bare, "pytest", "-m", "not slow", *session.posargs)


@nox.session
def pytorch3d(session: nox.Session) -> None:
    """Our cameras and rotations against PyTorch3D's own classes, in an environment that has it."""
    tools = ("pytest>=8.3", "hypothesis>=6.120", "iopath>=0.1.10")
    folder = environment(session, "pytorch3d", extras="", tools=tools)
    # Alone: it must not choose another build of torch.
    install(session, folder, "--no-deps", PYTORCH3D)
    run(session, folder, "pytest", "tests/geometry/test_pytorch3d.py", *session.posargs)


@nox.session
def golden(session: nox.Session) -> None:
    """Compare with the golden values: those beside the checkout if there are, else the committed ones."""
    beside = SHARED / "golden"
    folder = beside if beside.is_dir() else ROOT / "golden"
    run(session, full(session), "refkp", "verify", "--golden", str(folder), *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format of the Python files."""
    tool = environment(session, "lint", extras=None, tools=("ruff>=0.14,<0.18",))
    run(session, tool, "ruff", "check", ".")
    run(session, tool, "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types of the package."""
    run(session, full(session), "mypy", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against the peers: `refkp bench`."""
    run(session, full(session), "refkp", "bench", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job end to end: `refkp demo`."""
    run(session, full(session), "refkp", "demo", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel into dist/, then import the wheel where there is only torch and numpy."""
    builder = environment(session, "build", extras=None, tools=("build>=1.2",))
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    run(session, builder, "python", "-m", "build")
    (wheel,) = (ROOT / "dist").glob("*.whl")
    clean = environment(session, "clean", extras=None, tools=(TORCH, "numpy"))
    run(session, clean, "python", "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", str(wheel))
    with session.chdir(ROOT / "dist"):  # away from the sources
        run(session, clean, "python", "-c", "import refkp; print(refkp.__file__)")
        run(session, clean, "refkp", "info")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Random calls of every op under AddressSanitizer and UBSan, and broken files for every reader."""
    run(session, full(session), "python", "scripts/fuzz.py", *session.posargs, tools=compilers(session))


@nox.session
def mutate(session: nox.Session) -> None:
    """Deliberate bugs, one after another: the tests must find each."""
    run(session, full(session), "python", "scripts/mutate.py", *session.posargs, tools=compilers(session))


@nox.session
def gpu(session: nox.Session) -> None:
    """What needs a CUDA device, in the Python that is active there; `nox -s gpu -- --rehearse` does without one."""
    session.run("bash", "scripts/gpu_check.sh", *session.posargs, external=True)


# ---- environments -------------------------------------------------------------------------------


def full(session: nox.Session) -> Path:
    """The environment with every extra, shared by most sessions."""
    return environment(session, "full", extras="[all,dev]")


def compilers(session: nox.Session) -> Path:
    """The environment with what builds the extension beside a C++ compiler."""
    return environment(
        session, "compilers", extras=None, tools=("cmake>=3.24", "ninja>=1.11", "pybind11>=2.13")
    )


def environment(session: nox.Session, name: str, *, extras: str | None, tools: tuple[str, ...] = ()) -> Path:
    """The environment .nox/NAME with `tools`, and with torch and refkp[extras] unless `extras` is None.

    A stamp in it names what was installed, so that a second session starts at once.
    """
    folder = ROOT / ".nox" / name
    stamp = folder / "installed.txt"
    wanted = "\n".join(
        (sys.version, *tools, "" if extras is None else f"{TORCH} refkp{extras} {source_digest()}")
    )
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    if not (folder / "pyvenv.cfg").exists():
        session.run(sys.executable, "-m", "venv", str(folder), external=True)
    stamp.unlink(missing_ok=True)
    if extras is not None:
        install(session, folder, TORCH)
        run(session, folder, "python", "-m", "pip", "uninstall", "-q", "-y", "refkp")
        install(session, folder, f"{wheel_of_sources(session, folder)}{extras}")
    if tools:
        install(session, folder, *tools)
    stamp.write_text(wanted)
    return folder


def wheel_of_sources(session: nox.Session, folder: Path) -> Path:
    """The wheel of the present sources, built in isolation unless it is there already."""
    target = ROOT / ".nox" / "wheels" / source_digest()
    if not list(target.glob("*.whl")):
        run(
            session,
            folder,
            "python",
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            f"--wheel-dir={target}",
            str(ROOT),
        )
    return next(target.glob("*.whl"))


def source_digest() -> str:
    """A digest of everything that goes into the wheel."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(source_files()):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def source_files() -> Iterator[Path]:
    yield from (ROOT / name for name in ("pyproject.toml", "CMakeLists.txt", "README.md"))
    for folder in ("csrc", "python"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix not in (".so", ".pyc"):
                yield path


def install(session: nox.Session, folder: Path, *packages: str) -> None:
    run(session, folder, "python", "-m", "pip", "install", "-q", *packages)


def run(
    session: nox.Session, folder: Path, command: str, *arguments: str, tools: Path | None = None, **own: str
) -> None:
    """Run a command of an environment, with the settings that every session shares and its own.

    The command finds the programs of the environment `tools` too.
    """
    binaries = folder / "bin"
    places = [str(binaries), *([str(tools / "bin")] if tools else []), os.environ["PATH"]]
    settings = {"PATH": os.pathsep.join(places), "HF_HUB_OFFLINE": "1", **own}
    if (SHARED / "data").is_dir():
        settings["REFKP_DATA"] = os.environ.get("REFKP_DATA", str(SHARED / "data"))
    if shutil.which("nvidia-smi") is None:
        settings["TRITON_INTERPRET"] = "1"  # without a GPU, Triton's kernels run in its interpreter
    session.run(str(binaries / command), *arguments, env=settings, external=True)
