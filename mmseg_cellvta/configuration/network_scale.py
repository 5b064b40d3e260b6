# Copyright (c) CellVTA-MMSeg contributors.
"""At how many µm/px a network sees images: `model.mpp` of a config, and nothing else.

Data sets are built apart from the model. MMEngine's message hub is how components that
do not know each other hear of one another: the model says its scale there when it is
built, and pipelines that are built after it take it up.
"""
from typing import Any

from mmengine.logging import MessageHub

from ..utils.pixel_size import mpp_problem
from .type_names import type_name

SCALED_TO = 'network_mpp'  # in the message hub, and of every sample that was scaled
DEFAULT_MPP = 0.25  # µm/px, 40x


def announce_network_mpp(mpp: float) -> None:
    """Tells pipelines that are built from now on the network's µm/px."""
    # Not into checkpoints: the config says it.
    MessageHub.get_current_instance().update_info(SCALED_TO, mpp, resumed=False)


def announced_network_mpp() -> float | None:
    """Returns the µm/px of the model that was built last; None before the first."""
    return MessageHub.get_current_instance().get_info(SCALED_TO)


def network_mpp(model: dict) -> float:
    """Returns the µm/px that the config of a `CellSegmentor` states.

    A config of before `model.mpp` states it in its post-processor.

    Raises:
        ValueError: When no pixel has that size.
    """
    post_processor = model.get('post_processor') or {}
    mpp = model.get('mpp')
    if mpp is None:
        mpp = post_processor.get('mpp', DEFAULT_MPP)
    if problem := mpp_problem(mpp):
        raise ValueError(f'model.mpp={mpp}: {problem}')
    return mpp


def fill_network_mpp(cfg: Any, mpp: float) -> None:
    """Writes µm/px into every `ResizeToMpp` of a config that has no number."""
    if isinstance(cfg, dict):
        if type_name(cfg) == 'ResizeToMpp':
            cfg.setdefault('mpp', mpp)
        cfg = cfg.values()
    elif not isinstance(cfg, (list, tuple)):
        return
    for part in cfg:
        fill_network_mpp(part, mpp)
