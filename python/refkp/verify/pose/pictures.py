"""Adapters of the pictures whose pixels are defined: flow colours and their wheel."""

from __future__ import annotations

from refkp.verify.registry import Arrays, Params, Values, adapter
from refkp.viz.flow import flow_to_color, flow_wheel


@adapter("pose", "flow_visualisation")
def flow_visualisation(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """A flow in colour, the same with unseen pixels grey, and the wheel."""
    flow, max_flow = arrays["flow"].numpy(), params["max_flow"]
    return {
        "rgb": flow_to_color(flow, max_flow=max_flow),
        "rgb_unseen_gray": flow_to_color(flow, max_flow=max_flow, confidence=arrays["confidence"].numpy()),
        "wheel": flow_wheel(params["wheel_size"]),
    }
