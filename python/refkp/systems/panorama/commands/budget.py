"""`refkp panorama budget`: what a layout costs in tokens and operations, and what it sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refkp._files import write_json
from refkp.commands import parsed, parser, table
from refkp.systems.panorama.commands.layout_options import add_layout_options, chosen_layout
from refkp.systems.panorama.model.sizes import EncoderSize, LanguageSize

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.panorama.model.budget import Budget

_COMMAND = "refkp panorama budget"


def budget(argv: list[str]) -> int:
    """Count tokens, operations and coverage of a layout or crop strategy."""
    options = parsed(_parser(), argv)

    from refkp.systems.panorama.model.budget import token_budget

    result = token_budget(
        chosen_layout(options, options.erp_height, options.view_size),
        view_size=options.view_size,
        overlap=options.stitch_overlap,
        drop_padding=options.drop_padding,
        encoder=options.encoder,
        language=options.language,
    )
    print(table(("of one panorama", ""), _rows(result)))
    if options.json is not None:
        write_json(options.json, result._asdict())
        print(f"numbers in {options.json}")
    return 0


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, budget.__doc__, example=f"{_COMMAND} --layout.hfov_deg 60 --view_size 448")
    command.add_argument("--view_size", type=int, default=224, help="side of the views in pixels")
    command.add_argument("--erp_height", type=int, default=1024, help="rows of the panorama, for crops")
    command.add_argument("--stitch_overlap", type=float, default=0.5, help="overlap that stride_views drops")
    command.add_argument("--drop_padding", type=bool, default=True, help="leave out tokens of black borders")
    command.add_argument(
        "--json", type=Path | None, default=None, metavar="FILE", help="write the numbers to this file"
    )
    add_layout_options(command)
    command.add_argument("--encoder", type=EncoderSize, default=EncoderSize(), help="the vision encoder")
    command.add_argument("--language", type=LanguageSize, default=LanguageSize(), help="the language model")
    return command


def _rows(budget: Budget) -> list[tuple[str, str]]:
    overlap = "no neighbours" if budget.tile_overlap is None else f"{100 * budget.tile_overlap:.1f} %"
    return [
        ("views", str(budget.num_views)),
        ("perspective tiles", str(budget.num_tiles)),
        ("tokens of a view", f"{budget.grid[0]} x {budget.grid[1]} = {budget.tokens_per_view}"),
        ("tokens of the encoder", str(budget.encoder_tokens)),
        ("of them in black borders", str(budget.padding_tokens)),
        *((f"vision tokens, {name}", str(count)) for name, count in budget.vision_tokens.items()),
        ("encoder, GFLOP", f"{budget.encoder_flops / 1e9:.1f}"),
        *(
            (f"language model prefill, {name}, GFLOP", f"{flops / 1e9:.1f}")
            for name, flops in budget.prefill_flops.items()
        ),
        ("sphere seen by tiles and crops", f"{100 * budget.coverage:.1f} %"),
        ("tiles and crops per direction, mean", f"{budget.mean_multiplicity:.2f}"),
        ("shared by neighbouring tiles, mean", overlap),
    ]
