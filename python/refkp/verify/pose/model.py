"""Adapters of the model: position codes, encoder and decoder, joint attention, heads."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from refkp.nn.attention import SelfAttention
from refkp.nn.rope2d import grid_rotary, rope2d
from refkp.systems.pose.model.alternating import AlternatingAttention
from refkp.systems.pose.model.classifier import ClassificationHead
from refkp.systems.pose.model.croco import CrocoEncoder
from refkp.systems.pose.model.flow import FlowHead
from refkp.systems.pose.model.pairs import pairs_from_labels
from refkp.systems.pose.model.position import template_code
from refkp.systems.pose.model.s2rope import (
    SphereSplit,
    planar_phases,
    published_phases,
    reference_faces,
    s2_rotary,
)
from refkp.systems.pose.model.spec import AttentionSpec, ClassifierSpec, EncoderSpec, FlowSpec
from refkp.systems.pose.model.tokens import Tokens
from refkp.systems.pose.templates.selection import view_directions
from refkp.verify.gradients import leaf, projected_gradients
from refkp.verify.originals.croco_decoder import CrocoDecoder
from refkp.verify.originals.flow_losses import pnp_weights
from refkp.verify.originals.seed_heads import SeedClassificationHead, SeedFlowHead
from refkp.verify.registry import Arrays, Params, Values, adapter

Network = TypeVar("Network", bound=nn.Module)


@adapter("pose", "rope2d")
def _rope2d(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The code of a grid, in both precisions."""
    tokens, positions = leaf(arrays["tokens"]), arrays["positions"]
    options = {"base": params["base"], "scale": params["F0"]}
    out = rope2d(tokens, positions, **options)
    exact = rope2d(arrays["tokens"].double(), positions, **options)
    gradients = projected_gradients([(out, arrays.get("projection"))], {"grad_tokens": tokens})
    return {"out": out, "out_f64": exact, **gradients}


@adapter("pose", "s2rope")
def _s2rope(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Phases of the published definition, and tokens that they turn."""
    split = SphereSplit(params["px"], params["py"], params["ps"])
    phase_x, phase_y = planar_phases(arrays["pos"], split, params["base_xy"])
    faces = reference_faces(arrays["ref_dir"])
    directions, mask = arrays["view_dirs"], arrays["frame_has_s2"]
    of_views = published_phases(directions, faces, split.face, params["base_s2"], mask)
    phase_s2 = of_views.unsqueeze(2).expand(*phase_x.shape[:3], -1, -1)
    tokens = leaf(arrays["tokens"])
    phases = (phase.flatten(1, 2).unsqueeze(2) for phase in (phase_x, phase_y, phase_s2))  # [B,S*T,1,...]
    out = s2_rotary(*phases)(tokens)
    return {
        **{"phase_x": phase_x, "phase_y": phase_y, "phase_s2": phase_s2},
        **{"faces": faces.normal, "face_v": faces.v, "face_w": faces.w},
        "out": out,
        **projected_gradients([(out, arrays.get("projection"))], {"grad_tokens": tokens}),
    }


@adapter("pose", "global_attention_rope_mask")
def _masked_attention(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Attention whose tokens turn where the mask says so."""
    attention = _with_weights(SelfAttention(params["dim"], params["heads"]), arrays)
    x, mask = leaf(arrays["x"]), arrays["rope_mask"]
    if params["is_template"]:
        # An axis for the heads.
        x_phases, y_phases, faces = (
            arrays[name].unsqueeze(1) for name in ("phase_x", "phase_y", "phase_sph")
        )
        code = s2_rotary(x_phases, y_phases, faces, mask.unsqueeze(1))
    else:
        code = grid_rotary(arrays["pos2d"], params["dim"] // params["heads"], mask=mask)
    out = attention(x, code)
    return {"out": out, **projected_gradients([(out, arrays.get("projection"))], {"grad_x": x})}


@adapter("pose", "croco_encoder")
def _croco_encoder(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Features, the tokens after every block, and two gradients."""
    spec = EncoderSpec(
        dim=params["dim"],
        depth=params["depth"],
        heads=params["heads"],
        patch_size=params["patch"],
        image_size=params["img_size"][0],
        mlp_ratio=params["mlp_ratio"],
        rope_base=params["rope_base"],
        layer_norm_eps=params["ln_eps"],
    )
    encoder = _with_weights(CrocoEncoder(spec), arrays)
    image = leaf(arrays["image"])
    features = encoder(image)
    _, *blocks = encoder.block_outputs(image)
    inputs = {"grad_image": image}
    inputs |= {f"grad_{name.replace('.', '_')}": weight for name, weight in encoder.named_parameters()}
    return {
        "features": features,
        **{f"block{index}": block for index, block in enumerate(blocks)},
        **projected_gradients([(features, arrays.get("projection"))], inputs),
    }


@adapter("pose", "croco_decoder")
def _croco_decoder(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """The whole decoder, and one block on its own where tokens of the encoder are as wide as those of the decoder."""
    dim, encoder_dim = arrays["w/decoder_embed.weight"].shape
    decoder = CrocoDecoder(
        encoder_dim,
        dim,
        params["depth"],
        params["heads"],
        rope_base=params["rope_base"],
        mlp_ratio=arrays["w/dec_blocks.0.mlp.fc1.weight"].shape[0] / dim,
        layer_norm_eps=params["ln_eps"],
    )
    _with_weights(decoder, arrays)
    x, y, positions = arrays["x"], arrays["y"], arrays["pos"]
    values: Values = {"decoder_out": decoder(x, y, positions, positions)}
    if encoder_dim == dim:
        code = decoder.code(positions, x)
        values["block_out"] = decoder.dec_blocks[0](x, y, code, code)
    return values


@adapter("pose", "aa_module")
def _aa_module(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Query and templates after all blocks."""
    # Only where tokens turn is the fraction read, and may not be 0.
    turned = {"so3_fraction": params["so3_frac"]} if params["use_so3"] else {}
    spec = AttentionSpec(
        position="so3" if params["use_so3"] else "none",
        **turned,
        depth=params["depth"],
        window=params["window"],
        mlp_ratio=params["mlp_ratio"],
        rope_base=params["rope_base"],
    )
    grid = (params["grid"][0], params["grid"][1])
    module = AlternatingAttention(spec, params["dim"], params["heads"], grid)
    _with_weights(module, arrays)
    tokens, poses = Tokens(leaf(arrays["q_tokens"]), leaf(arrays["t_tokens"])), arrays["template_poses"]
    code = template_code(spec, module.head_dim, grid, poses, view_directions(poses[..., :3, :3])[:, 0])
    out = module(tokens, arrays["pos2d"], code)
    projections = [(out.query, arrays.get("proj_q")), (out.templates, arrays.get("proj_t"))]
    gradients = projected_gradients(projections, {"grad_q": tokens.query, "grad_t": tokens.templates})
    return {"out_q": out.query, "out_t": out.templates, **gradients}


@adapter("pose", "classification_head")
def _classification_head(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Logits of the head in use, or of that of the first revision."""
    query, templates = leaf(arrays["q_tokens"]), leaf(arrays["t_tokens"])
    if "mlp_hidden_dim" in params:
        tokens = Tokens(query, templates.unflatten(1, (params["num_templates"], -1)))
        sizes = (params["dim"], params["proj_dim"], params["mlp_hidden_dim"], params["temperature"])
        head: nn.Module = SeedClassificationHead(*sizes)
        _with_weights(head, arrays, _seed_classifier_name)
    else:
        tokens = Tokens(query, templates)
        spec = ClassifierSpec(
            hidden_dim=params["hidden_dim"],
            out_dim=params["proj_dim"],
            num_layers=params["num_layers"],
            normalise=params["normalize"],
            learnable_temperature=params["learnable_temperature"],
        )
        head = ClassificationHead(spec, params["in_dim"])
        unread = () if params["learnable_temperature"] else ("logit_scale",)
        _with_weights(head, arrays, lambda name: None if name in unread else name.replace(".net", ""))
    logits = head(tokens)
    inputs = {"grad_q": query, "grad_t": templates}
    return {"logits": logits, **projected_gradients([(logits, arrays.get("projection"))], inputs)}


@adapter("pose", "dense_flow_head")
def _dense_flow_head(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Flow of the pairs that match, or of the first revision's head on all pairs and on those that match."""
    return _seed_flow(params, arrays) if "matches" in arrays else _packed_flow(params, arrays)


def _packed_flow(params: Params, arrays: Arrays) -> Values:
    spec = FlowSpec(tuple(params["hidden"]), params["eps_b"])
    head = _with_weights(FlowHead(spec, params["in_dim"], params["ps"]), arrays, _trunk_name)
    tokens = Tokens(leaf(arrays["q_tokens"]), leaf(arrays["t_tokens"]))
    pairs = pairs_from_labels(arrays["patch_cls"], tokens.templates.shape[2])
    out = head(tokens, pairs)
    projections = [(out.flow, arrays.get("proj_flow")), (out.scale, arrays.get("proj_b"))]
    gradients = projected_gradients(projections, {"grad_q": tokens.query, "grad_t": tokens.templates})
    return {
        **dict(zip(("b_idx", "s_idx", "q_idx", "t_idx"), pairs, strict=True)),
        **{"flow": out.flow, "b": out.scale},
        "w": pnp_weights(out.scale, torch.ones_like(out.scale), eps=params["eps_b"]),
        **gradients,
    }


def _seed_flow(params: Params, arrays: Arrays) -> Values:
    head = SeedFlowHead(params["dim"], tuple(params["hidden"]), params["ps"])
    _with_weights(head, arrays, _seed_flow_name)
    query, templates = leaf(arrays["query_features"]), leaf(arrays["template_features"])
    tokens = Tokens(query, templates.unflatten(1, (params["S"], params["N"])))
    dense = head.all_pairs(tokens)
    matches = arrays["matches"]
    lazy = head(tokens, pairs_from_labels(matches, params["N"]))
    flow, confidence = (part.unflatten(0, matches.shape) for part in lazy)
    projections = [(flow, arrays.get("proj_flow")), (confidence, arrays.get("proj_conf"))]
    return {
        **{"flow": dense.flow, "confidence": dense.confidence},
        **{"flow_matched": flow, "confidence_matched": confidence},
        **projected_gradients(projections, {"grad_query": query, "grad_template": templates}),
    }


def _with_weights(module: Network, arrays: Arrays, rename: Callable[[str], str | None] = str) -> Network:
    """The module in evaluation with the weights of a case, under our names; None leaves one out."""
    weights: dict[str, Tensor] = {}
    for name, value in arrays.items():
        ours = rename(name.removeprefix("w/")) if name.startswith("w/") else None
        if ours is not None:
            weights[ours] = value
    module.load_state_dict(weights)
    return module.to(torch.promote_types(next(iter(weights.values())).dtype, torch.float32)).eval()


def _trunk_name(name: str) -> str:
    """Layers of one list: ours has the first Linear apart."""
    return re.sub(r"^backbone\.(\d+)", lambda m: f"backbone.{_layer(int(m[1]))}", name)


def _seed_flow_name(name: str) -> str:
    """As `_trunk_name`; the original's list has a dropout after every third layer."""
    name = re.sub(r"^decoder\.(\d+)", lambda m: f"decoder.{_layer(int(m[1]) // 4 * 3 + int(m[1]) % 4)}", name)
    return name.replace("confidence_predictor.0", "confidence_predictor")


def _layer(index: int) -> str:
    return "first" if index == 0 else f"rest.{index - 1}"


def _seed_classifier_name(name: str) -> str | None:
    """Without the parameter that is never read, the temperature (a number here) and the dropout layer."""
    if name in ("unseen_token", "temperature"):
        return None
    return re.sub(r"_mlp\.3", "_mlp.2", name)
