"""`refkp panorama bench`: the overlap losses against what a user would write in torch, in one run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from refkp._checks import fail
from refkp._extras import named_extras
from refkp._measure import (
    Step,
    Timing,
    peak_memory,
    relative_error,
    stopwatch,
    synchronised,
    take_turns,
    timing,
)
from refkp.ops.compositions import vicreg_covariance, vicreg_gram
from refkp.systems.panorama.commands.option_checks import require_counts, require_device
from refkp.systems.panorama.losses import compositions, overlap_vicreg, sequential_strip_vicreg
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.spec import LayoutSpec

#: Our variant, to which the others are compared.
OURS = "refkp"
TOLERANCE = 1e-3  # of max|ours|, for losses and gradients in float32
_CHUNK = 8  # pairs at a time, the default of earlier implementations

Variants = Mapping[str, Callable[[], Tensor]]


class Case(NamedTuple):
    """What is measured: the features of a batch, and how tiles are paired."""

    features: Tensor  # [B,V,S,D], requires a gradient
    layout: ErpLayout
    grid: tuple[int, int]
    rule: PairRule
    overlap_ratio: float  # of the sequential strips


class Row(NamedTuple):
    """One variant of one loss in one mode."""

    loss: str  # "grid" or "sequential"
    mode: str  # "forward" or "forward+backward"
    variant: str
    time: Timing
    ratio: float  # of its median to that of ours
    peak_bytes: int | None
    num_operators: int  # that torch dispatches: on a GPU, about as many launches
    value: float  # of the loss


def bench(argv: list[str]) -> int:
    """Time the overlap losses: grid and sequential, ours and plain torch, with peak memory."""
    with named_extras():
        from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="refkp panorama bench", description=bench.__doc__)
    parser.add_argument("--batch", type=int, default=8, help="panoramas")
    parser.add_argument("--dim", type=int, default=768, help="size of the features")
    parser.add_argument("--tokens", type=int, default=14, help="tokens along the side of a view")
    parser.add_argument("--overlap_ratio", type=float, default=0.5, help="width of the sequential strips")
    parser.add_argument("--layout", type=LayoutSpec, default=LayoutSpec(), help="the tile layout")
    parser.add_argument("--pairs", type=PairRule, default=PairRule(), help="which tiles are paired")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; all variants take turns")
    parser.add_argument("--threads", type=int, help="threads of torch and of the kernels")
    parser.add_argument("--device", type=str, default="cpu", help="cpu or cuda")
    parser.add_argument("--growth", type=bool, default=False, help="also peak memory for growing P and D")
    parser.add_argument("--json", type=str, help="file for the results")
    options = parser.instantiate(parser.parse_args(argv))
    require_counts("bench", options, "batch", "dim", "tokens", "rounds", "threads")
    require_device("bench", options.device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    layout, grid = ErpLayout.build(options.layout), (options.tokens, options.tokens)
    features = _features(options.batch, layout, grid, options.dim, options.device)
    case = Case(features, layout, grid, options.pairs, options.overlap_ratio)
    rows = measure(case, options.rounds)
    build = timing([stopwatch(lambda: compositions.build_table(layout, grid, case.rule)) for _ in range(3)])
    growth = memory_growth(case) if options.growth else []
    print(table(rows))
    print(f"pairs and correspondences from scratch, once a layout: {_milliseconds(build)}")
    for line in _growth_lines(growth):
        print(line)
    if options.json:
        document = _document(case, rows, build, growth)
        Path(options.json).write_text(json.dumps(document, indent=2) + "\n")
    return 0


def measure(case: Case, rounds: int) -> list[Row]:
    """Every variant of both losses, forward alone and with its backward pass, after a gate of correctness.

    Raises:
        ValueError: a variant has another loss or gradient than ours; nothing is timed then.
    """
    rows = []
    for loss, variants in (("grid", grid_variants(case)), ("sequential", sequential_variants(case))):
        values = gate(loss, variants, case.features)
        for mode in ("forward", "forward+backward"):
            steps = {name: _step(variant, mode, case.features) for name, variant in variants.items()}
            times = take_turns(steps, rounds)
            for name, step in steps.items():
                ratio = times[name].median_s / times[OURS].median_s
                peak = peak_memory(step, case.features.device.type)
                calls = _num_operators(step)
                rows.append(Row(loss, mode, name, times[name], ratio, peak, calls, values[name]))
    return rows


def gate(loss: str, variants: Variants, features: Tensor) -> dict[str, float]:
    """The loss of every variant, once its value and gradient agree with ours."""
    wanted = _step(variants[OURS], "forward+backward", features)()
    values = {}
    for name, variant in variants.items():
        got = _step(variant, "forward+backward", features)()
        error = max(relative_error(g, w) for g, w in zip(got, wanted, strict=True))
        if error > TOLERANCE:
            fail(f"{loss} loss", name, f"within {TOLERANCE:g} of ours", f"{error:.3g}")
        values[name] = float(got[0])
    return values


def grid_variants(case: Case) -> dict[str, Callable[[], Tensor]]:
    """The loss between tokens that see the same direction."""
    features = case.features
    table = compositions.build_table(case.layout, case.grid, case.rule, features.device)
    return {
        OURS: lambda: overlap_vicreg(features, table).total,
        "torch L x L": lambda: compositions.grid_loss(features, table, vicreg_gram),
        "torch D x D": lambda: compositions.grid_loss(features, table, vicreg_covariance),
        f"torch D x D by {_CHUNK}": lambda: compositions.grid_loss(
            features, table, vicreg_covariance, _CHUNK
        ),
        "torch pair by pair": lambda: compositions.grid_loss_loop(
            features, case.layout, case.grid, case.rule
        ),
    }


def sequential_variants(case: Case) -> dict[str, Callable[[], Tensor]]:
    """The loss between facing strips of consecutive tiles."""
    tiles = case.features[:, case.layout.first_tile :]
    grid, ratio = case.grid, case.overlap_ratio
    return {
        OURS: lambda: sequential_strip_vicreg(tiles, grid, ratio).total,
        "torch L x L": lambda: compositions.strip_loss(tiles, grid, ratio, vicreg_gram),
        "torch D x D": lambda: compositions.strip_loss(tiles, grid, ratio, vicreg_covariance),
        f"torch D x D by {_CHUNK}": lambda: compositions.strip_loss(
            tiles, grid, ratio, vicreg_covariance, _CHUNK
        ),
    }


class Growth(NamedTuple):
    """Peak memory of the grid loss with its backward pass, beyond features and table."""

    num_pairs: int  # ordered pairs of all samples, P
    dim: int  # D
    covariance_bytes: int  # P D^2 numbers
    peak_bytes: dict[str, int | None]  # by variant


def memory_growth(case: Case) -> list[Growth]:
    """Ours and the chunked torch form for a quarter, half and all of the samples and of the dimensions."""
    batch, dim, device = case.features.shape[0], case.features.shape[-1], case.features.device
    half_dims = [(batch, max(1, dim // k)) for k in (4, 2)]
    half_batches = [(max(1, batch // k), dim) for k in (4, 2, 1)]
    found = []
    for samples, size in half_dims + half_batches:
        features = _features(samples, case.layout, case.grid, size, device)
        variants = grid_variants(case._replace(features=features))
        peaks = {
            name: peak_memory(_step(variants[name], "forward+backward", features), device.type)
            for name in (OURS, f"torch D x D by {_CHUNK}")
        }
        table = compositions.build_table(case.layout, case.grid, case.rule, device)
        num_pairs = samples * len(table.views)
        found.append(Growth(num_pairs, size, 4 * num_pairs * size * size, peaks))
    return found


def table(rows: list[Row]) -> str:
    """The rows as text."""
    columns = ("loss", "mode", "variant", "time", "ratio", "peak", "operators", "value")
    lines = [
        (
            row.loss,
            row.mode,
            row.variant,
            _milliseconds(row.time),
            f"{row.ratio:.1f}x",
            _megabytes(row.peak_bytes),
            str(row.num_operators),
            f"{row.value:.4f}",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (columns, *lines)
    )


def _features(
    batch: int, layout: ErpLayout, grid: tuple[int, int], dim: int, device: torch.device | str
) -> Tensor:
    torch.manual_seed(0)
    shape = (batch, layout.num_views, grid[0] * grid[1], dim)
    return torch.randn(shape, device=device, requires_grad=True)


def _step(variant: Callable[[], Tensor], mode: str, features: Tensor) -> Step:
    def forward() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (variant(),)

    def full() -> tuple[Tensor, ...]:
        loss = variant()
        return (loss.detach(), *torch.autograd.grad(loss, features))

    return synchronised(forward if mode == "forward" else full, features.device.type)


class _OperatorCount(TorchDispatchMode):
    num_operators = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.num_operators += 1
        return func(*args, **(kwargs or {}))


def _num_operators(step: Step) -> int:
    with _OperatorCount() as count:
        step()
    return count.num_operators


def _growth_lines(growth: list[Growth]) -> list[str]:
    lines = ["peak memory of the grid loss, forward+backward:"] if growth else []
    for row in growth:
        peaks = ", ".join(f"{name} {_megabytes(peak)}" for name, peak in row.peak_bytes.items())
        size = f"P={row.num_pairs:5d} D={row.dim:5d} P D^2 = {_megabytes(row.covariance_bytes)}"
        lines.append(f"  {size}: {peaks}")
    return lines


def _document(case: Case, rows: list[Row], build: Timing, growth: list[Growth]) -> dict[str, Any]:
    return {
        "shape": list(case.features.shape),
        "device": str(case.features.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "layout": case.layout.hash,
        "rows": [{**row._asdict(), "time": row.time._asdict()} for row in rows],
        "pair_building": build._asdict(),
        "memory_growth": [row._asdict() for row in growth],
    }


def _milliseconds(time: Timing) -> str:
    return f"{time.median_s * 1e3:.3g} +- {time.iqr_s * 1e3:.2g} ms"


def _megabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.4g} MB"
