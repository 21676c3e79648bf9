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
from refkp.systems.pose.model.tokens import Sequences, TokenManager, Tokens, without_added
from refkp.systems.pose.model.windows import from_windows, require_windows, to_windows


class Codes(NamedTuple):
    """What turns queries and keys of attention, the same in every block; it leaves all tokens that are no patches."""

    query: Code  # [B,h,N+Q,D]
    templates: Code | None  # [B,h,S,N+1+R,D]
    query_windows: Code  # [B,windows,h,window*window+Q,D]
    template_windows: Code  # [B,S,windows,h,window*window+1+R,D]


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
        self.added = TokenManager(spec, dim)
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
        sequences = self.added(tokens)
        for block in self.blocks:
            sequences = block(sequences, codes)
        return without_added(sequences, count)

    def _codes(self, positions: Tensor, dtype: torch.dtype, template_code: Code | None) -> Codes:
        def code(positions: Tensor, others: int) -> Rotary:
            """Of patches with `others` tokens behind them that do not turn."""
            angles = torch.promote_types(dtype, torch.float32)
            padded = functional.pad(positions, (0, 0, 0, others))
            mask = torch.arange(padded.shape[-2], device=padded.device) < positions.shape[-2]
            mask = mask.expand(padded.shape[:-1])
            return grid_rotary(padded, self.head_dim, base=self.spec.rope_base, mask=mask, dtype=angles)

        positions = positions.expand(1, -1, -1) if positions.dim() == 2 else positions
        windows = to_windows(positions, self.grid, self.spec.window)
        of_query, of_template = self.spec.query_registers, self.spec.template_registers
        num_coded = positions.shape[-2] + 1  # what `template_code` is made for
        return Codes(
            code(positions, of_query),
            None if template_code is None else of_first(num_coded, template_code),
            code(windows, of_query),
            code(windows.unsqueeze(1), 1 + of_template),  # an axis for S
        )


class AlternatingBlock(nn.Module):
    """Joint attention, local attention and MLP, each normalised before and added after.

    1. The query, all templates and the tokens of the object attend to each other as one sequence.
    2. The query and each template attend inside windows, with the same weights and the positions in the whole
       grid. Every window holds a copy of the view's tokens that are no patches; the copies are averaged.
    3. The query and the templates have an MLP each; the tokens of the object share that of the templates.
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

    def forward(self, sequences: Sequences, codes: Codes) -> Sequences:
        """The tokens after one block."""
        query, templates, of_object = self._joint(sequences, codes)
        query = query + self.drop_path(self._local(self.norm_q2(query), codes.query_windows))
        templates = templates + self.drop_path(self._local(self.norm_t2(templates), codes.template_windows))
        query = query + self.drop_path(self.mlp_q(self.norm_q3(query)))
        others = torch.cat((templates.flatten(1, 2), of_object), 1)
        others = others + self.drop_path(self.mlp_t(self.norm_t3(others)))
        return Sequences(query, *_split(others, templates.shape[1:3]))

    def _joint(self, sequences: Sequences, codes: Codes) -> Sequences:
        """One sequence of N + Q, S (N + 1 + R) and O tokens; each part is turned by its own code."""
        query, templates, of_object = sequences
        count, shape = query.shape[1], templates.shape[1:3]

        def code(heads: Tensor) -> Tensor:
            own, others = heads[:, :, :count], heads[:, :, count:]
            if codes.templates is None:
                return torch.cat((codes.query(own), others), 2)
            of_templates, rest = others.split((shape.numel(), others.shape[2] - shape.numel()), 2)
            turned = codes.templates(of_templates.unflatten(2, shape)).flatten(2, 3)
            return torch.cat((codes.query(own), turned, rest), 2)

        others = torch.cat((templates.flatten(1, 2), of_object), 1)
        joint = torch.cat((self.norm_q1(query), self.norm_t1(others)), 1)
        branch = self.drop_path(self.g_attn(joint, code))
        return Sequences(query + branch[:, :count], *_split(others + branch[:, count:], shape))

    def _local(self, tokens: Tensor, code: Code) -> Tensor:
        """Windows of the patches of views [...,N+k,C], each with a copy of the k other tokens of its view."""
        rows, columns = self.grid
        patches, others = tokens.split((rows * columns, tokens.shape[-2] - rows * columns), -2)
        windows = to_windows(patches, self.grid, self.window)
        copies = others.unsqueeze(-3).expand(*windows.shape[:-2], -1, -1)
        attended = self.l_attn(torch.cat((windows, copies), -2), code)
        patches, copies = attended.split((windows.shape[-2], copies.shape[-2]), -2)
        return torch.cat((from_windows(patches, self.grid, self.window), copies.mean(-3)), -2)


def of_first(count: int, code: Code) -> Code:
    """The code of the first `count` tokens [...,N,D]; the others stay as they are."""

    def turned(tokens: Tensor) -> Tensor:
        if tokens.shape[-2] == count:
            return code(tokens)
        return torch.cat((code(tokens[..., :count, :]), tokens[..., count:, :]), -2)

    return turned


def _split(others: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Templates [B,S,T,C] and tokens of the object [B,O,C] of both in one sequence; `shape` is (S, T)."""
    return others[:, : shape.numel()].unflatten(1, shape), others[:, shape.numel() :]
