# Copyright (c) CellVTA-MMSeg contributors.
"""The inference form of a network: what is linear in eval mode is computed at once.

Every fold is exact, at the border too, where 3x3 convolutions see zeros around the map
and bilinear enlargement repeats its last row. A constant that lies under such a
convolution therefore adds less at the border than inside; `ConstantUnderConv` knows how
much.
"""
import itertools

import torch
from mmcv.cnn import ConvModule, fuse_conv_bn
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ..utils.devices import WITHOUT_FLOAT64
from .backbones import CellVTAAdapter
from .decode_heads import HoverDecodeHead
from .decode_heads.hover_decode_head import HoverBranch
from .layers.row_sampling import LateProjection

FIRST_LAST = ((0, 0), (-1, 2))  # a border's index in the map, and that of its lost tap


def fold_segmentor(model: nn.Module) -> None:
    """Turns an encoder-decoder into its inference form, for good, in eval mode.

    BatchNorm goes into the convolution before it, whatever backbone and head are. The
    rest needs a `CellVTAAdapter` or a `HoverDecodeHead`, and is left as it is where a
    normalisation is none that can be folded.

    Args:
        model: A segmentor with `backbone` and `decode_head`.
    """
    device = next(model.parameters()).device
    if device.type in WITHOUT_FLOAT64:  # in which layers are folded
        model.to('cpu')
    _fold(model)
    model.to(device)


@torch.no_grad()
def _fold(model: nn.Module) -> None:
    fuse_conv_bn(model)
    backbone, head = model.backbone, model.decode_head
    if isinstance(head, HoverDecodeHead):
        if _can_fold_half_level(backbone, head):
            _fold_half_level(backbone, head)
        _fold_decoders(head)
    if isinstance(backbone, CellVTAAdapter) and backbone.conv_pyramid:
        for block in backbone.interactions:
            if block.injector is not None:
                block.injector.attn = LateProjection(block.injector.attn)
    model.eval().requires_grad_(False)
    # The CPU would otherwise bring the weights into this order in every forward.
    model.to(memory_format=torch.channels_last)


def _can_fold_half_level(backbone: nn.Module, head: HoverDecodeHead) -> bool:
    return (isinstance(backbone, CellVTAAdapter) and backbone.conv_pyramid
            and isinstance(backbone.norms[0], _BatchNorm)
            and isinstance(head.skip_encoders[1][0], ConvModule))


def _fold_half_level(adapter: CellVTAAdapter, head: HoverDecodeHead) -> None:
    """Lets the adapter return the 1/2 level as the head's first convolution has it."""
    encoder = head.skip_encoders[1]
    adapter.folded_half = FoldedHalfLevel(
        adapter.spatial_prior.fc1, adapter.up, adapter.norms[0], encoder[0].conv)
    del adapter.spatial_prior.fc1, adapter.up
    adapter.norms[0] = nn.Identity()
    encoder[0] = _after_conv(encoder[0])


def _fold_decoders(head: HoverDecodeHead) -> None:
    for parent in list(head.modules()):
        for name, block in parent.named_children():
            if _is_deconv_block(block):
                up, conv = block
                folded = FoldedConv.from_layers(up, conv.conv)
                setattr(parent, name, nn.Sequential(folded, _after_conv(conv)))
    for name, branch in head.branches.items():
        head.branches[name] = FoldedBranch(branch)


def _is_deconv_block(block: nn.Module) -> bool:
    return isinstance(block, nn.Sequential) and [type(m) for m in block] == [
        nn.ConvTranspose2d, ConvModule]


def _after_conv(block: ConvModule) -> nn.Sequential:
    """Returns what follows the convolution of a block; a fused norm is gone."""
    after = block.norm, block.activate
    return nn.Sequential(*(m for m in after if not isinstance(m, nn.Identity)))


class ConstantUnderConv(nn.Module):
    """A constant under a 3x3 convolution with zero padding.

    Inside the map it adds the sum of its taps, which the bias of a convolution holds.
    `forward` takes away what the padding keeps from the border.

    Args:
        taps: (channels, 3, 3): what the constant adds through each place of the kernel.
    """

    def __init__(self, taps: Tensor) -> None:
        super().__init__()
        self.register_buffer('taps', taps)

    def forward(self, output: Tensor) -> Tensor:
        """Corrects the border of (N, channels, H, W) in place; H and W at least 2."""
        rows, columns = self.taps.sum(2), self.taps.sum(1)
        for index, lost in FIRST_LAST:
            output[:, :, index] -= rows[:, lost, None]
            output[..., index] -= columns[:, lost, None]
        for (row, lost_row), (column, lost_column) in itertools.product(
                FIRST_LAST, repeat=2):
            output[:, :, row, column] += self.taps[:, lost_row, lost_column]
        return output


class FoldedConv(nn.Module):
    """A 3x3 convolution over a map that a transposed one has enlarged, as one layer.

    Over that map alone, or over the sum of it and of what is linear in a skip.

    Args:
        up: Transposed convolution, 2x2 with stride 2; its bias is in `taps`.
        weight: (out_channels, channels, 3, 3), over the enlarged map.
        bias: (out_channels, ) after the convolution.
        taps: (out_channels, 3, 3), see `ConstantUnderConv`.
        skip_weight: (out_channels, skip_channels, 3, 3), over the skip; None for none.
    """

    def __init__(self, up: nn.ConvTranspose2d, weight: Tensor, bias: Tensor,
                 taps: Tensor, skip_weight: Tensor | None = None) -> None:
        super().__init__()
        dtype = up.weight.dtype
        self.constant = ConstantUnderConv(taps.to(dtype))
        kernel = _compose(up.weight.double(), weight)
        self.up = nn.ConvTranspose2d(
            *kernel.shape[:2], 4, stride=2, padding=1, device='meta')
        self.up.weight = nn.Parameter(kernel.to(dtype))
        self.up.bias = nn.Parameter((bias + taps.sum(dim=(1, 2))).to(dtype))
        self.skip = None
        if skip_weight is not None:
            out_channels, channels = skip_weight.shape[:2]
            self.skip = nn.Conv2d(
                channels, out_channels, 3, padding=1, bias=False, device='meta')
            self.skip.weight = nn.Parameter(skip_weight.to(dtype))

    @classmethod
    def from_layers(cls, up: nn.ConvTranspose2d, conv: nn.Conv2d) -> 'FoldedConv':
        """Folds a convolution over [skip, enlarged map], or over the map alone."""
        weight = conv.weight.double()
        skip_channels = conv.in_channels - up.out_channels
        skip, enlarged = weight.split([skip_channels, up.out_channels], dim=1)
        taps = torch.einsum('omyx,m->oyx', enlarged, up.bias.double())
        return cls(up, enlarged, conv.bias.double(), taps,
                   skip if skip_channels else None)

    def forward(self, inputs: Tensor, skip: Tensor | None = None) -> Tensor:
        """Turns (N, C, H/2, W/2) and a skip (N, S, H, W) into (N, O, H, W)."""
        output = self.constant(self.up(inputs))
        return output if skip is None else output.add_(self.skip(skip))


def _compose(up: Tensor, weight: Tensor) -> Tensor:
    """Returns the kernel, 4x4 with stride 2 and padding 1, of both layers.

    Args:
        up: (in, channels, 2, 2) kernel of the transposed convolution.
        weight: (out, channels, 3, 3) kernel of the convolution after it.
    """
    kernel = up.new_zeros(len(up), len(weight), 4, 4)
    for y, x, dy, dx in itertools.product(range(2), range(2), range(3), range(3)):
        # Pixel 2i + y of the enlarged map is tap dy of output 2i + y - dy + 1.
        kernel[:, :, y - dy + 2, x - dx + 2] += up[:, :, y, x] @ weight[:, :, dy, dx].T
    return kernel


class FoldedHalfLevel(nn.Module):
    """The 1/2 level of the pyramid after the first convolution of the head's encoder.

    The level is BatchNorm of the sum of the branch's own map, of the enlarged 1/4 map
    and of the ViT's map, enlarged eight times. With 1024 channels at 1/2 it is the
    largest map of all; here it is never made.

    Args:
        fc1: 1x1 convolution of the branch's map.
        up: Transposed convolution of the 1/4 map.
        norm: BatchNorm of the sum.
        conv: 3x3 convolution of the head.
    """

    def __init__(self, fc1: nn.Conv2d, up: nn.ConvTranspose2d, norm: _BatchNorm,
                 conv: nn.Conv2d) -> None:
        super().__init__()
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        constant = scale * (fc1.bias.double() + up.bias - norm.running_mean) + norm.bias
        weight = conv.weight.double()
        taps = torch.einsum('omyx,m->oyx', weight, constant)
        weight = weight * scale[:, None, None]
        self.maps = FoldedConv(
            up, weight, conv.bias.double(), taps,
            torch.einsum('omyx,mi->oiyx', weight, fc1.weight[..., 0, 0].double()))
        # The 3 x 3 taps as channels, outputs innermost.
        taps = weight.permute(2, 3, 0, 1).flatten(0, 2)
        self.mix = nn.Linear(*taps.shape[::-1], bias=False, device='meta')
        self.mix.weight = nn.Parameter(taps.to(conv.weight.dtype))

    def forward(self, vit_map: Tensor, half: Tensor, quarter: Tensor) -> Tensor:
        """Computes the level.

        Args:
            vit_map: (N, C, H/16, W/16).
            half: (N, conv_channels, H/2, W/2), before `fc1`.
            quarter: (N, C, H/4, W/4).

        Returns:
            (N, out_channels, H/2, W/2), before norm and activation of the head.
        """
        return self.maps(quarter, half).add_(self._read_vit(vit_map, half.shape[-2:]))

    def _read_vit(self, vit_map: Tensor, size: tuple[int, int]) -> Tensor:
        """Mixes channels where the map is small, then enlarges and shifts the taps."""
        taps = self.mix(vit_map.movedim(1, -1)).unflatten(-1, (3, 3, -1))
        rows, columns = (
            _enlarge_and_shift(small, large, taps)
            for small, large in zip(vit_map.shape[-2:], size, strict=True))
        lines = torch.einsum('jxe,nijdeo->nidxo', columns, taps)
        return torch.einsum('iyd,nidxo->nyxo', rows, lines).movedim(-1, 1)


def _enlarge_and_shift(small: int, large: int, like: Tensor) -> Tensor:
    """Returns (small, large, 3): what a value adds to each output by each tap.

    A line of `small` values is enlarged bilinearly to `large`. Tap d of output o sees
    the enlarged value o + d - 1, and beyond the ends zero.
    """
    line = F.interpolate(
        torch.eye(small, device=like.device)[None], large, mode='linear',
        align_corners=False)[0]
    return F.pad(line, (1, 1)).unfold(1, 3, 1).to(like.dtype)


class FoldedBranch(nn.Module):
    """A `HoverBranch` whose enlargements are part of the next convolution.

    Args:
        branch: The branch; a bottleneck with a convolution is folded already.
    """

    def __init__(self, branch: HoverBranch) -> None:
        super().__init__()
        self.bottleneck, up = branch.bottleneck, None
        if isinstance(self.bottleneck[-1], nn.ConvTranspose2d):
            self.bottleneck, up = nn.Identity(), self.bottleneck[-1]
        self.joins, self.rests = nn.ModuleList(), nn.ModuleList()
        for first, *rest in branch.levels:
            self.joins.append(
                _Concatenation(first.conv) if up is None
                else FoldedConv.from_layers(up, first.conv))
            up = rest.pop() if isinstance(rest[-1], nn.ConvTranspose2d) else None
            self.rests.append(nn.Sequential(_after_conv(first), *rest))

    def forward(self, deepest: Tensor, *skips: Tensor) -> Tensor:
        """Decodes one branch; see `HoverBranch`."""
        x = self.bottleneck(deepest)
        for join, rest, skip in zip(
                self.joins, self.rests, reversed(skips), strict=True):
            x = rest(join(x, skip))
        return x


class _Concatenation(nn.Module):
    """A convolution over [skip, map] of one size."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, inputs: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([skip, inputs], dim=1))
