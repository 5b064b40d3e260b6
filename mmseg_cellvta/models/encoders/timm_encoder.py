# Copyright (c) CellVTA-MMSeg contributors.
import timm
from timm.layers import DropPath
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from .weights import fingerprint, load_encoder_weights

PATCH_SIZE = 16  # px: the pyramid's coarsest level is this patch grid


class TimmEncoder(nn.Module):
    """A timm ViT/16, opened up so that an adapter can enter between its blocks.

    The weights are loaded here and nowhere else: MMEngine copies models for EMA before
    it initialises them, and never initialises them at test time.

    Args:
        name: timm model name, such as `vit_large_patch16_224`.
        weights: `hf-hub:<owner>/<repository>`, a local file, or None for random
            weights.
        frozen: Keep every weight as it is: no gradients, eval mode also in training.
        drop_path_rate: Stochastic depth of the last block, rising linearly from 0. It
            stays active in a frozen encoder, as in the authors' released training.
        save_frozen: Write frozen weights into checkpoints although they can be loaded
            from `weights` again. Random and trained encoders are always written.
        **model_kwargs: Further arguments of the timm model, such as `init_values`.

    Raises:
        ValueError: `name` is unknown to timm or is no plain ViT with 16 px patches.
    """

    def __init__(self,
                 name: str,
                 weights: str | None = None,
                 frozen: bool = True,
                 drop_path_rate: float = 0.0,
                 save_frozen: bool = False,
                 **model_kwargs) -> None:
        super().__init__()
        self.name = name
        self.frozen = frozen
        self.weights = weights
        self.in_checkpoint = save_frozen or not frozen or weights is None
        self.vit = _create_vit(name, drop_path_rate, model_kwargs)
        if weights is not None:
            load_encoder_weights(self.vit, weights)
        self.embed_dims = self.vit.embed_dim
        self.num_blocks = len(self.vit.blocks)
        self.num_prefix_tokens = self.vit.num_prefix_tokens
        if frozen:
            self.vit.requires_grad_(False)
        self._register_state_dict_hook(_leave_out_frozen_weights)

    def take_norm(self) -> nn.Module:
        """Hands over the final LayerNorm, which only a class-token head needs.

        It belongs to the trained part even where the blocks are frozen; without such a
        head it would be a parameter that never gets a gradient.
        """
        norm, self.vit.norm = self.vit.norm, nn.Identity()
        return norm.requires_grad_(True)

    def embed(self, inputs: Tensor) -> Tensor:
        """Turns a normalised image (N, 3, H, W) into tokens (N, P + H*W/256, C)."""
        tokens = self.vit._pos_embed(self.vit.patch_embed(inputs))
        return self.vit.norm_pre(self.vit.patch_drop(tokens))

    def run_blocks(self, tokens: Tensor, start: int, stop: int) -> Tensor:
        """Applies blocks `start` to `stop - 1` to tokens (N, L, C)."""
        return self.vit.blocks[start:stop](tokens)

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
            ValueError: The checkpoint was trained on another encoder.
        """
        saved = state_dict.pop(prefix + 'fingerprint', None)
        own = {f'{prefix}vit.{k}': v for k, v in self.vit.state_dict().items()}
        if saved is not None:
            if not saved.cpu().equal(fingerprint(self.vit)):
                raise ValueError(
                    f'the checkpoint was trained on another encoder than {self.name} '
                    f'with weights {self.weights}; set encoder.name and '
                    'encoder.weights to those of its training')
            state_dict.update(own)
        for key, value in own.items():
            if key in state_dict and state_dict[key].shape != value.shape:
                raise ValueError(
                    f'the checkpoint holds another encoder than {self.name}: {key} '
                    f'has shape {tuple(state_dict[key].shape)}, expected '
                    f'{tuple(value.shape)}; set encoder.name to that of its training')
        super()._load_from_state_dict(state_dict, prefix, *args)


def _leave_out_frozen_weights(encoder: TimmEncoder, state_dict: dict, prefix: str,
                              local_metadata: dict) -> None:
    """State-dict hook: a fingerprint stands in for weights that can be had again."""
    if encoder.in_checkpoint:
        return
    for key in encoder.vit.state_dict():
        state_dict.pop(f'{prefix}vit.{key}')
    state_dict[prefix + 'fingerprint'] = fingerprint(encoder.vit)


def _create_vit(name: str, drop_path_rate: float,
                model_kwargs: dict) -> VisionTransformer:
    try:
        vit = timm.create_model(
            name,
            pretrained=False,
            num_classes=0,
            dynamic_img_size=True,
            drop_path_rate=drop_path_rate,
            **model_kwargs)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f'encoder.name={name!r}: timm cannot build it as a ViT ({error}); choose a '
            "name that timm.list_models('vit_*patch16*') shows") from error
    if not isinstance(vit, VisionTransformer) or vit.patch_embed.patch_size != (
            PATCH_SIZE, PATCH_SIZE):
        raise ValueError(
            f'encoder.name={name!r} is not a plain ViT with {PATCH_SIZE} px patches; '
            "choose a name that timm.list_models('vit_*patch16*') shows")
    return vit
