# Copyright (c) CellVTA-MMSeg contributors.
import timm
from timm.layers import DropPath
from timm.models import is_model_in_modules
from torch import Tensor, nn
from torch.nn import functional as F

from ...post_processing.instances import TOKEN_STRIDE
from ...utils.plain_loading import CheckpointError
from .encoder_table import EncoderEntry, find_encoder
from .families import EvaFamily, SamFamily, VitFamily
from .weights import fingerprint, load_encoder_weights

FAMILIES = (VitFamily, EvaFamily, SamFamily)
PUBLISHED = 'published'  # weights of the table of encoders
# What timm's ViTs pool their tokens with; no backbone does.
POOLING_PARTS = ('attn_pool.', 'fc_norm.')


class TimmEncoder(nn.Module):
    """A ViT, opened up so that an adapter can work between its blocks.

    Whatever its patch size, its tokens lie 16 px apart: a ViT with patches of 14 px
    reads the image scaled by 14/16. Scaling, and not another crop or resampled weights,
    keeps each token over its 16 x 16 px and the weights as they were trained.

    The weights are loaded here and nowhere else: MMEngine copies models for EMA before
    it initialises them, and never initialises them at test time.

    Args:
        name: Name of the table of encoders (docs/encoders.md), such as `UNI2-h`, or of
            a timm model, such as `vit_large_patch16_224`.
        weights: 'published' for those of the table; `hf-hub:<owner>/<repository>`, if
            need be with `/<file>`; a local file; None for random weights.
        frozen: Keep every weight as it is: no gradients, eval mode also in training.
            Checkpoints then hold a fingerprint of the weights instead of the weights,
            unless they were random, or a loaded checkpoint had others.
        drop_path_rate: Stochastic depth of the last block, rising linearly from 0. It
            stays active in a frozen encoder, as in the authors' released training.
        **model_kwargs: Further arguments of the timm model, such as `init_values`;
            layers by the name that timm gives them.

    Attributes:
        embed_dims: Channels of a token.
        num_blocks: Blocks of the ViT.
        num_prefix_tokens: Tokens before those of the patches: class token, registers.
        patch_size: Side of a patch, px of the scaled image.
        positions_in_blocks: True where the blocks themselves need to know which place
            in the image a token has.

    Raises:
        ValueError: When `name` is unknown or is no ViT, when it has no published
            weights, or when timm does not take the further arguments.
    """

    def __init__(self,
                 name: str,
                 weights: str | None = None,
                 frozen: bool = True,
                 drop_path_rate: float = 0.0,
                 **model_kwargs) -> None:
        super().__init__()
        entry = find_encoder(name)
        self.name = name
        self.frozen = frozen
        self.weights = _find_weights(name, weights, entry)
        self.family = _find_family(entry.architecture)
        self.vit = _build_vit(self.family, entry.architecture, dict(
            entry.model_kwargs, drop_path_rate=drop_path_rate, **model_kwargs))
        if weights is not None:
            load_encoder_weights(self.vit, self.weights, self.family.filter_weights)
        self.embed_dims = self.vit.embed_dim
        self.num_blocks = len(self.vit.blocks)
        self.num_prefix_tokens = self.vit.num_prefix_tokens
        self.patch_size = self.vit.patch_embed.patch_size[0]
        self.positions_in_blocks = self.family.positions_in_blocks
        self.has_other_weights = False  # than `weights` says
        self._set_trainable(not frozen)
        self._register_state_dict_hook(_leave_out_frozen_weights)

    @property
    def in_checkpoint(self) -> bool:
        """True where a checkpoint must hold the weights: nothing else has them."""
        return not self.frozen or self.weights is None or self.has_other_weights

    def take_norm(self) -> nn.Module:
        """Takes out the final LayerNorm, which only a class-token head needs.

        It is trained even where the blocks are frozen; without such a head it would be
        a parameter that never gets a gradient.
        """
        norm, self.vit.norm = self.vit.norm, nn.Identity()
        return norm.requires_grad_(True)

    def unfreeze(self) -> None:
        """Trains the encoder from now on; checkpoints then hold it."""
        self.frozen = False
        self._set_trainable(True)

    def _set_trainable(self, trainable: bool) -> None:
        # A trainable parameter that never gets a gradient ends DistributedDataParallel.
        for name, parameter in self.vit.named_parameters():
            parameter.requires_grad_(
                trainable and not name.startswith(POOLING_PARTS))

    def embed(self, inputs: Tensor) -> Tensor:
        """Turns images into tokens, prefix tokens (class, registers) first.

        Args:
            inputs: (N, 3, H, W) float, normalised images; H and W are multiples of 16.

        Returns:
            (N, P + H/16 * W/16, C) float tokens.
        """
        if self.patch_size != TOKEN_STRIDE:
            size = [side * self.patch_size // TOKEN_STRIDE for side in inputs.shape[2:]]
            # Antialiasing blurs all columns more alike than plain bilinear sampling.
            inputs = F.interpolate(
                inputs, size, mode='bilinear', align_corners=False, antialias=True)
        return self.family.embed(self.vit, inputs)

    def run_blocks(self,
                   tokens: Tensor,
                   start: int,
                   stop: int,
                   grid: tuple[int, int] | None = None) -> Tensor:
        """Applies blocks `start` to `stop - 1`.

        Args:
            tokens: (N, L, C) tokens; without their prefix only where the blocks do not
                need positions.
            start: First block, from 0.
            stop: Block after the last.
            grid: Rows and columns of the patches; needed with `positions_in_blocks`.

        Returns:
            (N, L, C) tokens.
        """
        assert grid is not None or not self.positions_in_blocks
        return self.family.run_blocks(self.vit, tokens, start, stop, grid)

    def train(self, mode: bool = True) -> 'TimmEncoder':
        """Keeps a frozen encoder in eval mode, except its stochastic depth."""
        super().train(mode and not self.frozen)
        for module in self.modules():
            if isinstance(module, DropPath):
                module.train(mode)
        return self

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        """Accepts a checkpoint without the frozen encoder if it is of this encoder.

        Raises:
            CheckpointError: When the checkpoint was trained on another encoder.
        """
        saved = state_dict.pop(prefix + 'fingerprint', None)
        own = {f'{prefix}vit.{k}': v for k, v in self.vit.state_dict().items()}
        if saved is not None:
            if not saved.cpu().equal(fingerprint(self.vit)):
                raise CheckpointError(
                    f'the checkpoint was trained on another encoder than {self.name} '
                    f'with weights {self.weights}; set encoder.name and '
                    'encoder.weights to those of its training')
            state_dict.update(own)
        for key, value in own.items():
            if key in state_dict and state_dict[key].shape != value.shape:
                raise CheckpointError(
                    f'the checkpoint holds another encoder than {self.name}: {key} '
                    f'has shape {tuple(state_dict[key].shape)}, expected '
                    f'{tuple(value.shape)}; set encoder.name to that of its training')
            if key in state_dict and not state_dict[key].to(value).equal(value):
                self.has_other_weights = True
        super()._load_from_state_dict(state_dict, prefix, *args)


def _leave_out_frozen_weights(encoder: TimmEncoder, state_dict: dict, prefix: str,
                              local_metadata: dict) -> None:
    """State-dict hook: a fingerprint stands in for weights that can be loaded again."""
    if encoder.in_checkpoint:
        return
    for key in encoder.vit.state_dict():
        state_dict.pop(f'{prefix}vit.{key}')
    state_dict[prefix + 'fingerprint'] = fingerprint(encoder.vit)


def _find_weights(name: str, weights: str | None, entry: EncoderEntry) -> str | None:
    if weights != PUBLISHED:
        return weights
    if entry.weights is None:
        raise ValueError(
            f"encoder.weights='published': {name} is not in the table of encoders; set "
            'encoder.weights to a file, to hf-hub:<owner>/<repository>, or to None for '
            'random weights')
    return entry.weights


def _find_family(architecture: str) -> type:
    for family in FAMILIES:
        if is_model_in_modules(architecture, family.modules):
            return family
    raise ValueError(
        f'encoder.name={architecture!r} is no ViT that can be opened; choose a name of '
        "docs/encoders.md, or one that timm.list_models('vit_*patch16*') shows")


def _build_vit(family: type, architecture: str, model_kwargs: dict) -> nn.Module:
    try:
        if isinstance(model_kwargs.get('mlp_layer'), str):  # timm wants the class
            model_kwargs['mlp_layer'] = getattr(timm.layers, model_kwargs['mlp_layer'])
        return family.build(architecture, **model_kwargs)
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
            f'encoder.name={architecture!r}: timm cannot build it as a ViT ({error}); '
            'choose a name of docs/encoders.md, or correct its arguments') from error
