"""`refkp panorama budget`: what a layout costs in tokens and operations, and what it sees."""

from __future__ import annotations

import json
from pathlib import Path

from refkp._extras import named_extras
from refkp.systems.panorama.commands.layout_options import add_layout_options, chosen_layout
from refkp.systems.panorama.model.budget import Budget, token_budget
from refkp.systems.panorama.model.sizes import EncoderSize, LanguageSize


def budget(argv: list[str]) -> int:
    """Count tokens, operations and coverage of a layout or crop strategy."""
    with named_extras():
        from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="refkp panorama budget", description=budget.__doc__)
    parser.add_argument("--view_size", type=int, default=224, help="side of the views in pixels")
    parser.add_argument("--erp_height", type=int, default=1024, help="rows of the panorama, for crops")
    parser.add_argument("--stitch_overlap", type=float, default=0.5, help="overlap that stride_views drops")
    parser.add_argument("--drop_padding", type=bool, default=True, help="leave out tokens of black borders")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers as JSON to this file")
    add_layout_options(parser)
    parser.add_argument("--encoder", type=EncoderSize, default=EncoderSize(), help="the vision encoder")
    parser.add_argument("--language", type=LanguageSize, default=LanguageSize(), help="the language model")
    options = parser.instantiate(parser.parse_args(argv))
    layout = chosen_layout(options, options.erp_height, options.view_size)
    result = token_budget(
        layout,
        view_size=options.view_size,
        overlap=options.stitch_overlap,
        drop_padding=options.drop_padding,
        encoder=options.encoder,
        language=options.language,
    )
    for name, value in _rows(result):
        print(f"{name:44} {value:>16}")
    if options.json is not None:
        options.json.write_text(json.dumps(result._asdict(), indent=2) + "\n")
    return 0


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
