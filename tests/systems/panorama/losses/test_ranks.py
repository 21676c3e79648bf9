"""Statistics over all ranks: in one process, and in two real ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.ops import vicreg
from refkp.systems.panorama.losses import VICRegOptions, overlap_vicreg, shared_vicreg
from refkp.systems.panorama.overlaps.correspondence import correspondence_table
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.verify.ranks import run_ranks

OPTIONS = VICRegOptions(unbiased=True, covariance="sum")


def test_one_process_takes_each_set_alone() -> None:
    x, y = torch.randn(2, 3, 4, 5, dtype=torch.float64).unbind()
    got = shared_vicreg(x, y, OPTIONS)
    want = torch.stack([vicreg(a, b, backend="reference").total[0] for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(got.total, want.mean())


def test_errors() -> None:
    with pytest.raises(ValueError, match="two samples"):
        shared_vicreg(torch.zeros(3, 1, 5), torch.zeros(3, 1, 5))
    with pytest.raises(ValueError, match=r"\[G,N,D\] with G=3"):
        shared_vicreg(torch.zeros(3, 2, 5), torch.zeros(2, 2, 5))


def _step(x: Tensor, y: Tensor, features: Tensor, layout: ErpLayout) -> dict[str, Tensor | str]:
    """On one rank: uneven samples, then the overlap loss of a batch of one, then unequal layouts."""
    x, y, features = (tensor.requires_grad_() for tensor in (x, y, features))
    loss = shared_vicreg(x, y, OPTIONS).total
    grad_x, grad_y = torch.autograd.grad(loss, (x, y))
    results = {"loss": loss.detach(), "grad_x": grad_x, "grad_y": grad_y}
    for scope in ("position", "all"):
        total = overlap_vicreg(features, correspondence_table(ErpLayout.build(), (4, 4)), scope=scope).total
        (results[f"grad_{scope}"],) = torch.autograd.grad(total, features)
    try:
        overlap_vicreg(features, correspondence_table(layout, (4, 4)), scope="position")
        results["error"] = "none"
    except ValueError as error:
        results["error"] = str(error)
    return results


def test_two_ranks_average_to_the_gradient_of_the_whole_batch() -> None:
    counts = (3, 5)
    x, y = torch.randn(2, 2, sum(counts), 4, dtype=torch.float64).unbind()
    features = torch.randn(2, 9, 16, 3, dtype=torch.float64)
    layouts = (ErpLayout.build(), ErpLayout.build().jittered(10.0))
    cut = [part.split(counts, 1) for part in (x, y)]
    ranks = run_ranks(_step, [(cut[0][r], cut[1][r], features[r : r + 1], layouts[r]) for r in (0, 1)])

    x, y, features = (tensor.requires_grad_() for tensor in (x, y, features))
    terms = vicreg(x.flatten(0, 1), y.flatten(0, 1), torch.tensor([0, 8, 16]), backend="reference")
    pulled = [(a - b).square().mean() for a, b in zip(x.split(counts, 1), y.split(counts, 1), strict=True)]
    whole = 25 * (pulled[0] + pulled[1]) / 2 + (25 * terms.variance + terms.covariance).mean()
    for name, tensor in (("grad_x", x), ("grad_y", y)):
        (want,) = torch.autograd.grad(whole, tensor, retain_graph=True)
        torch.testing.assert_close(torch.cat([rank[name] for rank in ranks], 1) / 2, want)
    for scope in ("position", "all"):
        loss = overlap_vicreg(features, correspondence_table(ErpLayout.build(), (4, 4)), scope=scope).total
        (want,) = torch.autograd.grad(loss, features)
        torch.testing.assert_close(torch.cat([rank[f"grad_{scope}"] for rank in ranks]) / 2, want)
    for rank in ranks:
        assert "the same on all ranks" in rank["error"]
