# Copyright (c) CellVTA-MMSeg contributors.
"""Fine-tuning to other classes: what of a checkpoint is taken, and what is new."""
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn

from ..models.decode_heads import HoverDecodeHead
from ..models.encoders import TimmEncoder

# What a backbone has for a tissue head alone.
TISSUE_PARTS = ('backbone.cls_norm.', 'backbone.neck.')
SHOWN = 4  # names of weights in a message


@HOOKS.register_module()
class NewClassesHook(Hook):
    """Takes all weights of `load_from` but those that tell its classes apart.

    `tools/train.py --fine-tune` sets both. The outputs of the classes and tissues keep
    the values that a new training gives them, whatever the checkpoint has, and its list
    of classes is dropped; a tissue head may be new or left out. All else has to fit.
    """

    # First: other hooks, such as that of an average of the weights, read the
    # checkpoint as it is loaded.
    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Exchanges the weights of the classes in the checkpoint.

        Args:
            runner: The runner that loads; a resumed one takes the checkpoint as it is.
            checkpoint: The checkpoint, modified in place.

        Raises:
            ValueError: When other weights are missing, left over, or of another shape.
        """
        if runner._resume:
            return
        if 'state_dict' not in checkpoint:
            raise ValueError('the checkpoint has no state_dict; convert it with a tool '
                             'of tools/model_converters')
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        classes = _class_outputs(model)
        own = _own_weights(model)
        given = {key.removeprefix('module.'): value
                 for key, value in checkpoint['state_dict'].items()}
        new, left_out = (
            [key for key in weights if key.startswith(classes)
             or key.startswith(TISSUE_PARTS) and key not in others]
            for weights, others in ((own, given), (given, own)))
        taken = _without(given, left_out)
        _check_fit(_without(own, new), taken, [name for name, _ in _encoders(model)])
        checkpoint['state_dict'] = taken | {key: own[key] for key in new}
        checkpoint.get('meta', {}).pop('dataset_meta', None)
        print_log(
            f'Fine-tuning: {len(taken)} tensors of the checkpoint are taken; '
            f'{len(left_out)} are left out: {", ".join(left_out)}; {len(new)} begin '
            f'anew: {", ".join(new)}', 'current')


def _class_outputs(model: nn.Module) -> tuple[str, ...]:
    """Returns how the names of weights begin whose outputs are classes or tissues.

    Raises:
        ValueError: When the model has no `HoverDecodeHead`.
    """
    names = tuple(
        f'{name}.{output}' for name, module in model.named_modules()
        if isinstance(module, HoverDecodeHead) for output in module.class_outputs)
    if not names:
        raise ValueError('fine-tuning to other classes needs a HoverDecodeHead, which '
                         'this model does not have; set load_from instead')
    return names


def _own_weights(model: nn.Module) -> dict[str, Tensor]:
    """Returns all weights by name, also those that a checkpoint would not hold."""
    weights = model.state_dict()
    for name, encoder in _encoders(model):
        weights.pop(f'{name}.fingerprint', None)
        weights.update(encoder.vit.state_dict(prefix=f'{name}.vit.'))
    return weights


def _encoders(model: nn.Module) -> list[tuple[str, TimmEncoder]]:
    return [(name, module) for name, module in model.named_modules()
            if isinstance(module, TimmEncoder)]


def _without(weights: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if key not in names}


def _check_fit(expected: dict[str, Tensor], given: dict[str, Tensor],
               encoders: list[str]) -> None:
    """Compares names and shapes.

    Args:
        expected: Weights of the model.
        given: Weights of the checkpoint; instead of those of an encoder it may hold
            their fingerprint, which the encoder itself compares.
        encoders: Names of the encoders.
    """
    for name in encoders:
        if f'{name}.fingerprint' in given:
            expected, given = (
                {key: value for key, value in weights.items()
                 if not key.startswith(f'{name}.')} for weights in (expected, given))
    shapes = [f'{key} of {tuple(given[key].shape)} instead of {tuple(value.shape)}'
              for key, value in expected.items()
              if key in given and given[key].shape != value.shape]
    for what, found in (('lacks', [key for key in expected if key not in given]),
                        ('has besides', [key for key in given if key not in expected]),
                        ('has', shapes)):
        if found:
            more = f' and {len(found) - SHOWN} more' if len(found) > SHOWN else ''
            raise ValueError(
                'the checkpoint differs from the model in more than its classes: it '
                f'{what} {", ".join(found[:SHOWN])}{more}; take model.backbone and '
                'model.decode_head of its training, with other num_classes')
