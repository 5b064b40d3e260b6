# Copyright (c) CellVTA-MMSeg contributors.
"""The decoders: encoders of the skips, and three branches that share them."""
import itertools
from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from ...utils.device_cache import numbers_on
from ...utils.plain_loading import CheckpointError
from ..backbones.cellvta_adapter import PYRAMID_STRIDES
from ..layers import recompute

# Channels of the maps that come before the classes: background, nucleus; x, y.
NP_CHANNELS, HV_CHANNELS = 2, 2
LEVEL_STRIDES = (1, *PYRAMID_STRIDES)  # px, of the decoders' levels


@MODELS.register_module()
class HoverDecodeHead(BaseDecodeHead):
    """HoVer-Net's three branches (arXiv:1812.06499) over the image and four maps.

    The branches NP (nucleus or background), HV (horizontal and vertical distance to
    the nucleus' centre) and NC (class) share the encoders of the skips, of which the
    first reads the image itself. Maps of a pyramid are encoded as they are; coarser
    ones, such as a plain ViT's, are enlarged step by step, as in CellViT
    (arXiv:2306.15350).

    Args:
        in_channels: Channels of the image and of the four maps.
        channels: Channels of the decoders at full resolution, an even number; 2, 4 and
            8 times as many at 1/2, 1/4 and 1/8.
        num_classes: Classes, background included.
        loss_np: Configs of the NP branch's losses, called with logits and class ids.
        loss_hv: Configs of the HV branch's losses, called with HV maps, their targets
            and the mask of nuclei.
        loss_nc: Configs of the NC branch's losses, called as those of NP.
        tissue_classes: Names of the tissues that a tissue head tells apart by the class
            token, which follows the maps in the inputs; None for no such head.
        tissue_channels: Channels of the class token; None for those of the deepest map.
        loss_tissue: Config of the tissue head's loss; None to leave it untrained.
        in_strides: Strides of the inputs, px: those of the levels, or coarser ones by
            powers of 2, up to 16.
        bottleneck_channels: Channels of the decoders at 1/8; None for 8 times
            `channels`.
        path_channels: Channels at 1/4 and 1/8 of a map on its way to a finer level;
            None for those of the decoders.
        bottleneck_conv: Convolve the 1/16 map after enlarging it; CellViT does not.
        norm_cfg: Config of the normalisation layers.
        with_cp: Compute activations again in the backward pass instead of keeping them:
            less memory for more time.

    Attributes:
        class_outputs: How the names of those weights begin whose outputs are classes or
            tissues; they alone depend on the data set.

    Raises:
        ValueError: When `in_channels` does not name five inputs, or no encoder leads
            from `in_strides` to the levels of the decoders.
    """

    class_outputs = ('branches.nc.levels.3.2.', 'tissue_head.')

    def __init__(self,
                 in_channels: Sequence[int],
                 channels: int,
                 num_classes: int,
                 loss_np: Sequence[dict],
                 loss_hv: Sequence[dict],
                 loss_nc: Sequence[dict],
                 tissue_classes: Sequence[str] | None = None,
                 tissue_channels: int | None = None,
                 loss_tissue: dict | None = None,
                 in_strides: Sequence[int] = LEVEL_STRIDES,
                 bottleneck_channels: int | None = None,
                 path_channels: Sequence[int] | None = None,
                 bottleneck_conv: bool = True,
                 norm_cfg: dict = dict(type='BN'),
                 with_cp: bool = False) -> None:
        if len(in_channels) != 5:
            raise ValueError(
                f'in_channels={tuple(in_channels)}: expected five, of the image and '
                'of four maps')
        _check_strides(in_strides)
        super().__init__(
            in_channels,
            channels,
            num_classes=num_classes,
            in_index=tuple(range(5)),
            input_transform='multiple_select',
            dropout_ratio=0,
            norm_cfg=norm_cfg,
            init_cfg=None)
        # The base class assumes one map of logits per class and its own classifier.
        del self.conv_seg, self.loss_decode
        self.with_cp = with_cp
        self.out_channels = NP_CHANNELS + HV_CHANNELS + num_classes
        widths = [channels * stride for stride in LEVEL_STRIDES[:-1]]
        path = widths if path_channels is None else [*widths[:2], *path_channels]
        if bottleneck_channels is not None:
            widths[3] = bottleneck_channels
        self.skip_encoders = nn.ModuleList(
            _skip_encoder(dims, stride, level, widths[level], path, norm_cfg)
            for level, (dims, stride) in enumerate(
                zip(in_channels[:-1], in_strides[:-1], strict=True)))
        outputs = dict(np=NP_CHANNELS, hv=HV_CHANNELS, nc=num_classes)
        self.branches = nn.ModuleDict({
            name: HoverBranch(in_channels[-1], widths, maps, norm_cfg, bottleneck_conv)
            for name, maps in outputs.items()
        })
        self.tissue_classes = tissue_classes
        self.tissue_head = None
        if tissue_classes is not None:
            self.tissue_head = nn.Linear(
                tissue_channels or in_channels[-1], len(tissue_classes))
        self.losses = nn.ModuleDict()
        for name, cfgs in dict(np=loss_np, hv=loss_hv, nc=loss_nc).items():
            self.losses[name] = nn.ModuleList(MODELS.build(cfg) for cfg in cfgs)
        if loss_tissue is not None:
            self.losses['tissue'] = nn.ModuleList([MODELS.build(loss_tissue)])

    def forward(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Computes all maps.

        Args:
            inputs: Normalised images (N, 3, H, W), four maps (N, C, H/s, W/s) with the
                strides `in_strides`, and the class token (N, C) if there is a tissue
                head.

        Returns:
            `np` (N, 2, H, W) logits, `hv` (N, 2, H, W) values, x first, `nc`
            (N, num_classes, H, W) logits, and `tissue` (N, T) logits if there is a
            tissue head.
        """
        *shallow, deepest = self._transform_inputs(inputs)
        image, *maps = zip(self.skip_encoders, shallow, strict=True)
        skips = [self._run(*image)]
        for encode, x in maps:
            # Over a map of its own level there is much to compute and little to keep.
            own_level = isinstance(encode[0], ConvModule)
            skips.append(encode(x) if own_level else self._run(encode, x))
        outputs = {
            name: self._run(branch, deepest, *skips)
            for name, branch in self.branches.items()
        }
        if self.tissue_head is not None:
            outputs['tissue'] = self.tissue_head(inputs[-1])
        return outputs

    def _run(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        """Calls a part whose activations `with_cp` does not keep."""
        return recompute(module, *inputs) if self.with_cp else module(*inputs)

    def loss_by_feat(self, outputs: dict[str, Tensor],
                     data_samples: SampleList) -> dict[str, Tensor]:
        """Computes the weighted losses of every branch.

        Args:
            outputs: What `forward` returns.
            data_samples: Samples with `gt_inst_map` (1, H, W), `gt_sem_seg` (1, H, W)
                class ids and `gt_hv_map` (2, H, W); the name `tissue` in their
                metainfo if there is a tissue loss.

        Returns:
            Named losses, `loss_<branch>_<loss>`, and `acc_np` in percent.

        Raises:
            ValueError: When a tissue is not among `tissue_classes`.
        """
        nuclei = _stack(data_samples, 'gt_inst_map')[:, 0] > 0
        class_map = _stack(data_samples, 'gt_sem_seg')[:, 0].long()
        hv_map = _stack(data_samples, 'gt_hv_map')
        targets = dict(np=(nuclei.long(), ), hv=(hv_map, nuclei), nc=(class_map, ))
        if 'tissue' in self.losses:
            targets['tissue'] = (self._tissue_ids(data_samples, nuclei.device), )
        losses = {}
        # Autocast would take the gradients of the HV maps in half precision.
        with torch.autocast(hv_map.device.type, enabled=False):
            for name, modules in self.losses.items():
                prediction = outputs[name].float()
                for module in modules:
                    # MMSegmentation's losses call themselves loss_*, ours do not.
                    key = f'loss_{name}_{module.loss_name.removeprefix("loss_")}'
                    losses[key] = module(prediction, *targets[name])
        correct = outputs['np'].argmax(dim=1) == nuclei
        losses['acc_np'] = 100 * correct.float().mean()
        return losses

    def predict_by_feat(self, outputs: dict[str, Tensor],
                        batch_img_metas: list[dict]) -> Tensor:
        """Concatenates probabilities of NP, HV values and probabilities of NC.

        Sliding windows and flips average these maps. Of logits one confident window
        would outvote the others.

        Args:
            outputs: What `forward` returns.
            batch_img_metas: Not needed; `BaseDecodeHead` hands it over.

        Returns:
            (N, 2 + 2 + num_classes, H, W) float32 tensor; `split_maps` takes it apart.
        """
        np_probs, nc_probs = (outputs[k].float().softmax(dim=1) for k in ('np', 'nc'))
        return torch.cat([np_probs, outputs['hv'].float(), nc_probs], dim=1)

    def _tissue_ids(self, data_samples: SampleList, device: torch.device) -> Tensor:
        names = [sample.metainfo.get('tissue') for sample in data_samples]
        for name in names:
            if name not in self.tissue_classes:
                raise ValueError(
                    f'tissue {name!r} is not among tissue_classes='
                    f'{tuple(self.tissue_classes)}; add it, or set loss_tissue=None')
        ids = [self.tissue_classes.index(name) for name in names]
        return numbers_on(device, ids, torch.int64)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        """Refuses a checkpoint for another number of classes.

        Raises:
            CheckpointError: When it has another number; MMEngine would only warn, and
                test a random classifier.
        """
        last = self.branches['nc'].levels[-1][-1]
        found = state_dict.get(f'{prefix}{self.class_outputs[0]}weight')
        if found is not None and len(found) != last.out_channels:
            raise CheckpointError(
                f'the checkpoint predicts {len(found)} classes with background, the '
                f'model {last.out_channels}; set num_classes={len(found)}, or train '
                'the new classes with tools/train.py --fine-tune')
        super()._load_from_state_dict(state_dict, prefix, *args)


class HoverBranch(nn.Module):
    """One decoder from 1/16 to full resolution, with a skip at every level.

    Args:
        in_channels: Channels of the 1/16 map.
        widths: Channels at 1/1, 1/2, 1/4, 1/8.
        out_channels: Maps that the branch predicts.
        norm_cfg: Config of the normalisation layers.
        bottleneck_conv: Convolve the 1/16 map after enlarging it.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], out_channels: int,
                 norm_cfg: dict, bottleneck_conv: bool) -> None:
        super().__init__()
        c1, c2, c4, c8 = widths
        self.bottleneck = deconv_block(in_channels, c8, norm_cfg)
        if not bottleneck_conv:
            self.bottleneck = self.bottleneck[:1]
        # From 1/8 to full resolution; each takes the skip beside the upsampled map.
        self.levels = nn.ModuleList([
            nn.Sequential(
                conv_block(2 * c8, c8, norm_cfg), conv_block(c8, c8, norm_cfg),
                conv_block(c8, c8, norm_cfg), nn.ConvTranspose2d(c8, c4, 2, stride=2)),
            nn.Sequential(
                conv_block(2 * c4, c4, norm_cfg), conv_block(c4, c4, norm_cfg),
                nn.ConvTranspose2d(c4, c2, 2, stride=2)),
            nn.Sequential(
                conv_block(2 * c2, c2, norm_cfg), conv_block(c2, c2, norm_cfg),
                nn.ConvTranspose2d(c2, c1, 2, stride=2)),
            nn.Sequential(
                conv_block(2 * c1, c1, norm_cfg), conv_block(c1, c1, norm_cfg),
                nn.Conv2d(c1, out_channels, 1))
        ])

    def forward(self, deepest: Tensor, *skips: Tensor) -> Tensor:
        """Decodes one branch.

        Args:
            deepest: The 1/16 map (N, in_channels, H/16, W/16).
            *skips: Encoded skips at 1/1, 1/2, 1/4, 1/8.

        Returns:
            (N, out_channels, H, W) logits or values.
        """
        x = self.bottleneck(deepest)
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            x = level(torch.cat([skip, x], dim=1))
        return x


def _skip_encoder(in_channels: int, in_stride: int, level: int, width: int,
                  path: Sequence[int], norm_cfg: dict) -> nn.Sequential:
    """Returns two convolutions at the level itself, or a `deconv_block` per step up."""
    if in_stride == LEVEL_STRIDES[level]:
        first = width // (1 if level else 2)
        return nn.Sequential(
            conv_block(in_channels, first, norm_cfg),
            conv_block(first, width, norm_cfg))
    on_the_way = path[level + 1:LEVEL_STRIDES.index(in_stride)][::-1]
    return nn.Sequential(*(
        deconv_block(before, after, norm_cfg)
        for before, after in itertools.pairwise([in_channels, *on_the_way, width])))


def conv_block(in_channels: int, channels: int, norm_cfg: dict) -> ConvModule:
    """Returns a 3x3 convolution with normalisation and ReLU."""
    # The bias is redundant before a BatchNorm, but the released weights have one.
    return ConvModule(
        in_channels, channels, 3, padding=1, bias=True, norm_cfg=norm_cfg)


def deconv_block(in_channels: int, channels: int, norm_cfg: dict) -> nn.Sequential:
    """Returns a transposed convolution to twice the size, then a `conv_block`."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, channels, 2, stride=2),
        conv_block(channels, channels, norm_cfg))


def split_maps(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Splits concatenated maps (..., 4 + num_classes, H, W) into NP, HV and NC."""
    return maps.split(
        [NP_CHANNELS, HV_CHANNELS, maps.shape[-3] - NP_CHANNELS - HV_CHANNELS], dim=-3)


def _check_strides(in_strides: Sequence[int]) -> None:
    # The image as it is, and maps of their own level or a coarser one.
    allowed = [LEVEL_STRIDES[:1], *(LEVEL_STRIDES[level:] for level in range(1, 5))]
    if len(in_strides) != 5 or any(
            stride not in choices
            for stride, choices in zip(in_strides, allowed, strict=True)):
        raise ValueError(
            f'in_strides={tuple(in_strides)}: expected the image, maps that are not '
            'finer than 1/2, 1/4 and 1/8, and one at 1/16, as in (1, 2, 4, 8, 16) or '
            '(1, 16, 16, 16, 16)')


def _stack(data_samples: SampleList, field: str) -> Tensor:
    return torch.stack([sample.get(field).data for sample in data_samples])
