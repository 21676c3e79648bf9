"""The dispatch of losses: every kind gives its loss and gradients, every misuse raises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

pytest.importorskip("transformers", reason="needs the extra `panorama`")

from refkp.systems.panorama.losses import LossTerms, global_local, overlap_vicreg
from refkp.systems.panorama.losses.objective import KINDS, LossSpec, vision_loss
from refkp.systems.panorama.model.heads import VICRegHead
from refkp.systems.panorama.model.vision import VisionFeatures
from refkp.systems.panorama.overlaps.correspondence import correspondence_table
from refkp.systems.panorama.views.layout import ErpLayout

LAYOUT = ErpLayout.build()
TABLE = correspondence_table(LAYOUT, (4, 4), LossSpec().pairs)
PATHS = {
    "overlap": "overlap/pair",
    "sequential": "strips/pairwise",
    "vicregl": "vicregl",
    "densecl": "densecl",
    "pano_contrastive": "pano_contrastive",
    "global_local": "global_local/cosine",
}


def _loss(spec: LossSpec, batch: int = 2, layout: ErpLayout = LAYOUT) -> tuple[LossTerms, torch.Tensor]:
    torch.manual_seed(3)
    head = VICRegHead(6, 6, dropout=0.2)
    tokens = torch.randn(batch, layout.num_views, 16, 6, requires_grad=True)
    features = VisionFeatures(tokens, head(tokens))
    table = TABLE if layout is LAYOUT else correspondence_table(layout, (4, 4), spec.pairs)
    return vision_loss(spec, features, layout, table, head), tokens


@pytest.mark.parametrize("kind", PATHS)
def test_each_kind_has_its_path_and_reaches_the_tokens(kind: str) -> None:
    loss, tokens = _loss(LossSpec(kind=kind))
    assert loss.loss_path == PATHS[kind]
    assert loss.total.dtype == torch.float32
    assert all(term.dim() == 0 for term in loss.terms.values())
    loss.total.backward()
    assert bool((tokens.grad[:, 1:].abs().amax((2, 3)) > 0).all())


def test_all_kinds_are_tested() -> None:
    assert {*PATHS, "none"} == set(KINDS)


def test_half_precision_features_give_float32_losses() -> None:
    head = VICRegHead(6, 6, dropout=0.2)
    tokens = torch.randn(2, 9, 16, 6).bfloat16()
    features = VisionFeatures(tokens, tokens)
    for kind in PATHS:
        loss = vision_loss(LossSpec(kind=kind), features, LAYOUT, TABLE, head)
        assert loss.total.dtype == torch.float32


def test_global_local_can_be_added() -> None:
    features = VisionFeatures(*torch.randn(2, 2, 9, 16, 6).unbind())
    spec = LossSpec(global_local_weight=0.5, distance="mse")
    loss = vision_loss(spec, features, LAYOUT, TABLE, nn.Identity())
    first = overlap_vicreg(features.projected, TABLE, spec.vicreg).total
    second = global_local(features.projected[:, 0], features.projected[:, 1:], distance="mse").total
    torch.testing.assert_close(loss.total, first + 0.5 * second)
    assert loss.loss_path == "overlap/pair+global_local/mse"
    assert set(loss.terms) == {"invariance", "variance", "covariance", "global_local"}


def test_misuse_raises() -> None:
    tiles_alone = ErpLayout.build(global_view=False)
    with pytest.raises(ValueError, match="with a global view; got 8 tiles alone"):
        _loss(LossSpec(kind="global_local"), layout=tiles_alone)
    with pytest.raises(ValueError, match="with a global view"):
        _loss(LossSpec(global_local_weight=0.1), layout=tiles_alone)
    with pytest.raises(ValueError, match="at least two samples"):
        _loss(LossSpec(scope="position"), batch=1)
    with pytest.raises(ValueError, match="at least two samples"):
        _loss(LossSpec(kind="vicregl"), batch=1)
    with pytest.raises(ValueError, match="a loss; got 'none'"):
        _loss(LossSpec(kind="none"))
    features = VisionFeatures(*torch.randn(2, 2, 9, 16, 6).unbind())
    with pytest.raises(ValueError, match="head_dropout"):
        vision_loss(LossSpec(kind="pano_contrastive"), features, LAYOUT, TABLE, VICRegHead(6, 6))
    with pytest.raises(ValueError, match="the 8 views of the layout; got 9"):
        vision_loss(LossSpec(), features, tiles_alone, TABLE, nn.Identity())
    wrong = VisionFeatures(*torch.randn(2, 2, 9, 17, 6).unbind())
    for kind in ("overlap", "sequential", "vicregl", "densecl"):
        with pytest.raises(ValueError, match=r"S=16|16 in each view"):
            vision_loss(LossSpec(kind=kind), wrong, LAYOUT, TABLE, nn.Identity())


def test_specs_that_contradict_themselves_raise() -> None:
    with pytest.raises(ValueError, match="kind"):
        LossSpec(kind="grid")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scope"):
        LossSpec(scope="sample")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 for kind 'global_local'"):
        LossSpec(kind="global_local", global_local_weight=1.0)
    with pytest.raises(ValueError, match="0 or more"):
        LossSpec(global_local_weight=-1.0)
