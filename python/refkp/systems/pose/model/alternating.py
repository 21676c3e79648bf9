"""Attention that alternates between all tokens of a query and its templates, and windows of one view.

Source: spec pose 1.5. Parameter names are those of the original's last revision.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from refkp._checks import fail, require_shape
from refkp.nn.attention import Code, SelfAttention
from refkp.nn.drop_path import DropPath
from refkp.nn.init import init_transformer
from refkp.nn.mlp import Mlp
from refkp.nn.rope2d import grid_rotary
from refkp.nn.rotary import Rotary
from refkp.systems.pose.model.spec import AttentionSpec
from refkp.systems.pose.model.windows import from_windows, require_windows, to_windows


class Tokens(NamedTuple):
    """The tokens of a query and of its templates."""

    query: Tensor  # [B,N,C]
    templates: Tensor  # [B,S,N+1,C], the last one stands for "not seen in this template"


class Codes(NamedTuple):
    """What turns queries and keys of attention, the same in every block."""

    query: Code  # [B,h,N,D]
    templates: Code | None  # [B,h,S,N+1,D]; leaves the unseen tokens
    query_windows: Code  # [B,windows,h,window*window,D]
    template_windows: Code  # [B,S,windows,h,window*window+1,D]; leaves the unseen tokens


class AlternatingAttention(nn.Module):
    """Blocks of joint attention, local attention and MLPs over a query and its templates.

    Args:
        spec: depth, window and the rest.
        dim, heads: of the tokens.
        grid: rows and columns of the patches.

    Raises:
        ValueError: a window that does not fill the grid, heads that do not divide `dim`.
    """

    def __init__(self, spec: AttentionSpec, dim: int, heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        require_windows("AlternatingAttention", grid, spec.window)
        self.spec, self.grid, self.head_dim = spec, grid, dim // heads
        self.blocks = nn.ModuleList(AlternatingBlock(spec, dim, heads, grid) for _ in range(spec.depth))
        self.apply(init_transformer)

    def forward(self, tokens: Tokens, positions: Tensor, template_code: Code | None = None) -> Tokens:
        """Let query and templates read each other.

        Nothing tells the templates apart but `template_code`: their order has no influence.

        Args:
            tokens: query [B,N,C] and templates [B,S,N+1,C], N = rows * columns.
            positions: [B,N,2] or [N,2], row and column of the query's patches.
            template_code: turns the queries and keys [B,h,S,N+1,D] of the templates.
        """
        rows, columns = self.grid
        count = rows * columns
        require_shape("AlternatingAttention", "query", tokens.query, "B,N,C", N=count)
        require_shape("AlternatingAttention", "templates", tokens.templates, "B,S,T,C", T=count + 1)
        if len(tokens.query) != len(tokens.templates):
            sizes = (len(tokens.query), len(tokens.templates))
            fail(
                "AlternatingAttention",
                "templates",
                "of the batch of `query`",
                f"B={sizes[1]}, not {sizes[0]}",
            )
        codes = self._codes(positions, tokens.query.dtype, template_code)
        for block in self.blocks:
            tokens = block(tokens, codes)
        return tokens

    def _codes(self, positions: Tensor, dtype: torch.dtype, template_code: Code | None) -> Codes:
        def code(positions: Tensor, mask: Tensor | None = None) -> Rotary:
            angles = torch.promote_types(dtype, torch.float32)
            return grid_rotary(positions, self.head_dim, base=self.spec.rope_base, mask=mask, dtype=angles)

        positions = positions.expand(1, -1, -1) if positions.dim() == 2 else positions
        windows = to_windows(positions, self.grid, self.spec.window)
        with_unseen = functional.pad(windows, (0, 0, 0, 1)).unsqueeze(1)  # one row more; an axis for S
        patches = torch.ones_like(with_unseen[..., 0], dtype=torch.bool)
        patches[..., -1] = False
        return Codes(code(positions), template_code, code(windows), code(with_unseen, patches))


class AlternatingBlock(nn.Module):
    """Joint attention, local attention and MLP, each normalised before and added after.

    1. The query and all templates attend to each other as one sequence.
    2. The query and each template attend inside windows, with the same weights and the positions in the whole
       grid. Every window of a template holds a copy of its unseen token; the copies are averaged.
    3. The query and the templates have an MLP each.
    """

    def __init__(self, spec: AttentionSpec, dim: int, heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid, self.window = grid, spec.window
        self.norm_q1, self.norm_q2, self.norm_q3 = (nn.LayerNorm(dim) for _ in range(3))
        self.norm_t1, self.norm_t2, self.norm_t3 = (nn.LayerNorm(dim) for _ in range(3))
        self.g_attn = SelfAttention(dim, heads)
        self.l_attn = SelfAttention(dim, heads)
        self.mlp_q = Mlp(dim, spec.mlp_ratio)
        self.mlp_t = Mlp(dim, spec.mlp_ratio)
        self.drop_path = DropPath(spec.drop_path)

    def forward(self, tokens: Tokens, codes: Codes) -> Tokens:
        """The tokens after one block."""
        query, templates = self._joint(tokens, codes)
        query = query + self.drop_path(self._local_query(self.norm_q2(query), codes.query_windows))
        templates = templates + self.drop_path(
            self._local_templates(self.norm_t2(templates), codes.template_windows)
        )
        query = query + self.drop_path(self.mlp_q(self.norm_q3(query)))
        return Tokens(query, templates + self.drop_path(self.mlp_t(self.norm_t3(templates))))

    def _joint(self, tokens: Tokens, codes: Codes) -> Tokens:
        """One sequence of N + S (N+1) tokens; each part is turned by its own code."""
        query, templates = tokens
        count, shape = query.shape[1], templates.shape[1:3]

        def code(heads: Tensor) -> Tensor:
            own, others = heads[:, :, :count], heads[:, :, count:]
            if codes.templates is not None:
                others = codes.templates(others.unflatten(2, shape)).flatten(2, 3)
            return torch.cat((codes.query(own), others), 2)

        joint = torch.cat((self.norm_q1(query), self.norm_t1(templates).flatten(1, 2)), 1)
        branch = self.drop_path(self.g_attn(joint, code))
        return Tokens(query + branch[:, :count], templates + branch[:, count:].unflatten(1, shape))

    def _local_query(self, query: Tensor, code: Code) -> Tensor:
        windows = self.l_attn(to_windows(query, self.grid, self.window), code)
        return from_windows(windows, self.grid, self.window)

    def _local_templates(self, templates: Tensor, code: Code) -> Tensor:
        windows = to_windows(templates[..., :-1, :], self.grid, self.window)
        unseen = templates[..., None, -1:, :].expand(*windows.shape[:-2], 1, -1)
        windows = self.l_attn(torch.cat((windows, unseen), -2), code)
        patches = from_windows(windows[..., :-1, :], self.grid, self.window)
        return torch.cat((patches, windows[..., -1:, :].mean(-3)), -2)
