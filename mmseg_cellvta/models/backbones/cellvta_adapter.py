# Copyright (c) CellVTA-MMSeg contributors.
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ...post_processing.instances import TOKEN_STRIDE
from ...utils.device_cache import DeviceCache
from ..encoders import TimmEncoder
from ..layers import (
    DeformableAttention,
    InteractionBlock,
    SpatialPriorModule,
    TokenLevels,
    map_to_tokens,
    recompute,
    token_levels,
    tokens_to_map,
)
from .vit_backbone import NUM_STAGES, ViTBackbone, patch_grid

PYRAMID_STRIDES = (2, 4, 8, TOKEN_STRIDE)  # px, of the four levels
CLS_TOKEN_MODES = ('in_blocks', 'beside')
OFFSET_INITS = ('directional', 'zero')


@MODELS.register_module()
class CellVTAAdapter(ViTBackbone):
    """A ViT with a convolutional branch and a four-level pyramid (arXiv:2504.00784).

    Args:
        encoder: Arguments of `TimmEncoder`.
        conv_channels: Channels of the convolutional branch at 1/2 resolution.
        conv_pyramid: False for the baseline of the paper: no convolutional branch, the
            four levels are the ViT's own maps, enlarged.
        injection_stages: Stages of the ViT, 0 to 3, that read the pyramid.
        injector_init: First value of the scale of the injected features.
        deform_num_heads: Heads of the deformable attention.
        deform_num_points: Sampling points per head and level.
        deform_ratio: Channels of the sampled values relative to the ViT's.
        offset_init: 'directional' as in Deformable DETR: the points start on rays
            around the query; 'zero' as in the released code: on the query.
        conv_ffn_ratio: Hidden channels of the extractors' ConvFFN relative to the
            ViT's.
        drop_path_rate: Stochastic depth of the extractors' ConvFFN.
        num_extra_extractors: Extractors added after the last stage.
        cls_token: 'in_blocks': prefix tokens pass through the blocks, as the ViT was
            trained; 'beside': they skip all blocks, as in the released code (not for
            DINOv3 and SAM).
        out_cls_token: Return the normalised class token after the pyramid, for a
            tissue head.
        norm_cfg: Normalisation of the convolutional parts.
        with_cp: Compute activations again in the backward pass instead of keeping them:
            less memory for more time.

    Attributes:
        folded_half: In the inference form (`models.deploy`) what computes the 1/2
            level, as it is after the first convolution of the head.

    Raises:
        ValueError: When an argument is outside its choices, or asks for what the
            encoder does not have.
    """

    def __init__(self,
                 encoder: dict,
                 conv_channels: int = 64,
                 conv_pyramid: bool = True,
                 injection_stages: Sequence[int] = (0, 1, 2, 3),
                 injector_init: float = 0.0,
                 deform_num_heads: int = 8,
                 deform_num_points: int = 4,
                 deform_ratio: float = 0.5,
                 offset_init: str = 'directional',
                 conv_ffn_ratio: float = 0.25,
                 drop_path_rate: float = 0.0,
                 num_extra_extractors: int = 2,
                 cls_token: str = 'in_blocks',
                 out_cls_token: bool = False,
                 norm_cfg: dict = dict(type='BN'),
                 with_cp: bool = False) -> None:
        _check_choice('cls_token', cls_token, CLS_TOKEN_MODES)
        _check_choice('offset_init', offset_init, OFFSET_INITS)
        for stage in injection_stages:
            _check_choice('injection_stages', stage, range(NUM_STAGES))
        if injection_stages and not conv_pyramid:
            raise ValueError(
                f'injection_stages={tuple(injection_stages)} has nothing to inject '
                'with conv_pyramid=False; set injection_stages=() too')
        super().__init__(encoder)
        self.cls_token = cls_token
        self.offset_init = offset_init
        self.with_cp = with_cp
        self.folded_half = None

        _check_class_token(self.encoder, cls_token, out_cls_token)
        norm = self.encoder.take_norm()
        self.cls_norm = norm if out_cls_token else None
        dims = self.encoder.embed_dims

        self.conv_pyramid = conv_pyramid
        if conv_pyramid:
            attention = dict(
                num_heads=deform_num_heads,
                num_points=deform_num_points,
                value_ratio=deform_ratio)
            self.spatial_prior = SpatialPriorModule(conv_channels, dims, norm_cfg)
            self.level_embed = nn.Parameter(torch.zeros(3, dims))
            self.up = nn.ConvTranspose2d(dims, dims, 2, stride=2)
            self.interactions = nn.ModuleList(
                InteractionBlock(
                    dims, injector_init if stage in injection_stages else None,
                    1 + num_extra_extractors * (stage == NUM_STAGES - 1),
                    conv_ffn_ratio, drop_path_rate, attention)
                for stage in range(NUM_STAGES))
            self.levels_of = DeviceCache(_levels_of_grid)
        self.norms = nn.ModuleList(
            build_norm_layer(norm_cfg, dims)[1] for _ in range(NUM_STAGES))
        self._init_adapter()

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Computes the pyramid.

        Args:
            inputs: (N, 3, H, W) float, normalised images; H and W are multiples of 16.

        Returns:
            Four maps (N, C, H/s, W/s) for s = 2, 4, 8, 16, and after them, with
            `out_cls_token`, the class token (N, C).

        Raises:
            ValueError: When H or W is no multiple of 16.
        """
        grid = patch_grid(inputs)
        num_prefix = self.encoder.num_prefix_tokens
        tokens = self.encoder.embed(inputs)
        prefix, x = tokens[:, :num_prefix], tokens[:, num_prefix:]
        vit_maps = []
        if self.conv_pyramid:
            patches, levels = self.levels_of(grid, inputs.device)
            half, pyramid = self._run(self._read_image, inputs)
        for stage in range(NUM_STAGES):
            if self.conv_pyramid:
                x = self._run(
                    self.interactions[stage].inject, x, pyramid, patches, levels)
            prefix, x = self._run(self._run_blocks, prefix, x, grid, stage)
            if self.conv_pyramid:
                for extractor in self.interactions[stage].extractors:
                    pyramid = self._run(extractor, x, pyramid, patches, levels)
            vit_maps.append(tokens_to_map(x, grid))
        if self.conv_pyramid:
            own = _split_pyramid(pyramid, levels)
            outputs = [
                self._run(self._half_level, vit_maps[0], half, own[0]),
                *(self._level(index, vit_maps[index], own[index - 1])
                  for index in range(1, NUM_STAGES))]
        else:
            outputs = [self._level(index, vit_map)
                       for index, vit_map in enumerate(vit_maps)]
        if self.cls_norm is not None:
            outputs.append(self.cls_norm(prefix[:, 0]))
        return tuple(outputs)

    def _run(self, function: Callable, *args) -> Any:
        """Calls one of the parts whose activations `with_cp` does not keep."""
        return recompute(function, *args) if self.with_cp else function(*args)

    def _read_image(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the branch's 1/2 map and the tokens of its coarser maps."""
        half, *maps = self.spatial_prior(inputs)
        levels = [
            map_to_tokens(level) + embed
            for level, embed in zip(maps, self.level_embed, strict=True)
        ]
        return half, torch.cat(levels, dim=1)

    def _run_blocks(self, prefix: Tensor, x: Tensor, grid: tuple[int, int],
                    stage: int) -> tuple[Tensor, Tensor]:
        """Returns prefix and patch tokens after the ViT's blocks of a stage."""
        start, stop = self.stage_bounds[stage:stage + 2]
        if self.cls_token == 'beside':
            return prefix, self.encoder.run_blocks(x, start, stop, grid)
        tokens = self.encoder.run_blocks(
            torch.cat([prefix, x], dim=1), start, stop, grid)
        num_prefix = prefix.shape[1]
        return tokens[:, :num_prefix], tokens[:, num_prefix:]

    def _half_level(self, vit_map: Tensor, half: Tensor, quarter: Tensor) -> Tensor:
        """Returns the 1/2 map, the largest of all."""
        if self.folded_half is not None:
            return self.folded_half(vit_map, half, quarter)
        return self._level(
            0, vit_map, self.spatial_prior.fc1(half) + self.up(quarter))

    def _level(self, index: int, vit_map: Tensor, own: Tensor | None = None) -> Tensor:
        """Returns the sum of the ViT's map and the branch's own, normalised."""
        level = F.interpolate(
            vit_map, scale_factor=TOKEN_STRIDE // PYRAMID_STRIDES[index],
            mode='bilinear', align_corners=False)
        # Not own + level: OpenVINO 2024 to 2026 then adds up wrong numbers.
        return self.norms[index](level if own is None else level + own)

    def _init_adapter(self) -> None:
        """Initialises everything but the encoder, as ViT-Adapter does."""
        for name, module in self.named_modules():
            if name.startswith(('encoder', 'cls_norm')):
                continue
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                fan_out = module.weight[0, 0].numel() * module.out_channels
                nn.init.normal_(
                    module.weight, std=math.sqrt(2 * module.groups / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.conv_pyramid:
            nn.init.normal_(self.level_embed)
        if self.offset_init == 'directional':
            for module in self.modules():
                if isinstance(module, DeformableAttention):
                    module.init_weights()


def _check_choice(name: str, value, choices) -> None:
    if value not in choices:
        raise ValueError(f'{name}={value!r}: choose from {list(choices)}')


def _check_class_token(encoder: TimmEncoder, cls_token: str,
                       out_cls_token: bool) -> None:
    if out_cls_token and not encoder.num_prefix_tokens:
        raise ValueError(f'out_cls_token: {encoder.name} has no class token')
    if cls_token == 'beside' and encoder.positions_in_blocks:
        raise ValueError(
            f"cls_token='beside': the blocks of {encoder.name} need every token in its "
            "place; set cls_token='in_blocks'")


def _levels_of_grid(grid: tuple[int, int],
                    device: torch.device) -> tuple[TokenLevels, TokenLevels]:
    """Returns where the patches of a grid lie, and where the pyramid over them."""
    finer = [TOKEN_STRIDE // stride for stride in PYRAMID_STRIDES[1:]]
    return (token_levels((grid, ), device),
            token_levels(tuple((grid[0] * n, grid[1] * n) for n in finer), device))


def _split_pyramid(pyramid: Tensor, levels: TokenLevels) -> list[Tensor]:
    """Returns the maps at 1/4, 1/8 and 1/16."""
    return [
        tokens_to_map(part, shape)
        for part, shape in zip(
            pyramid.split(levels.lengths, dim=1), levels.shapes, strict=True)]
