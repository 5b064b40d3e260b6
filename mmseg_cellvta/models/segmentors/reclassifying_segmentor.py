# Copyright (c) CellVTA-MMSeg contributors.
"""CellViT++ (arXiv:2501.05269): a segmentor, and a classifier of its nuclei."""
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList
from torch import Tensor, nn
from torch.nn import functional as F

from ...post_processing import cell_tokens
from ...utils.plain_loading import CheckpointError
from .cell_segmentor import CellSegmentor, paint_classes


@MODELS.register_module()
class CellClassifier(BaseModel):
    """CellViT++'s classifier: two linear layers over a nucleus' token.

    It has no background class: whatever the segmentor found is a nucleus
    (arXiv:2501.05269).

    Args:
        in_channels: Channels of a token, D.
        num_classes: Classes, background included, C.
        hidden_channels: Channels between the two layers.
        dropout: Share of them that is dropped in training, 0-1.
        class_weight: Weights of the classes 1..C-1 in the loss; None for equal ones.

    Raises:
        ValueError: When `class_weight` is not one number per class without background.
    """

    def __init__(self,
                 in_channels: int,
                 num_classes: int,
                 hidden_channels: int = 512,
                 dropout: float = 0.1,
                 class_weight: Sequence[float] | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        if class_weight is not None:
            if len(class_weight) != num_classes - 1:
                raise ValueError(
                    f'class_weight has {len(class_weight)} numbers: expected '
                    f'{num_classes - 1}, one for each class except background')
            class_weight = torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer('class_weight', class_weight, persistent=False)
        self.fc1 = nn.Linear(in_channels, hidden_channels)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden_channels, num_classes - 1)

    def forward(self, tokens: Tensor, labels: Tensor | None = None,
                mode: str = 'tensor') -> Tensor | dict[str, Tensor] | list[dict]:
        """Classifies nuclei.

        Args:
            tokens: (N, D) float tokens.
            labels: (N,) int64 true classes 1..C-1, for 'loss' and 'predict'.
            mode: 'tensor', 'loss' or 'predict'.

        Returns:
            With 'tensor' (N, C-1) logits of the classes 1..C-1; with 'loss' the loss,
            and `acc_cell` in percent; with 'predict' a dict of `pred_label` and
            `gt_label` per nucleus.
        """
        logits = self.fc2(self.dropout(F.relu(self.fc1(tokens))))
        if mode == 'tensor':
            return logits
        predicted = logits.argmax(dim=1) + 1
        if mode == 'loss':
            loss = F.cross_entropy(logits, labels - 1, weight=self.class_weight)
            return dict(
                loss_cell_ce=loss, acc_cell=100 * (predicted == labels).float().mean())
        return [
            dict(pred_label=ours, gt_label=true)
            for ours, true in zip(predicted.tolist(), labels.tolist(), strict=True)
        ]

    def class_probs(self, tokens: Tensor) -> Tensor:
        """Returns (N, C) float32 probabilities, 0-1; those of background are 0."""
        probs = self(tokens.to(self.fc1.weight)).float().softmax(dim=1)
        return F.pad(probs, (1, 0))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        """Refuses a checkpoint without this classifier.

        Raises:
            CheckpointError: When weights are missing or of another shape; MMEngine
                would only warn, and test a random classifier.
        """
        own = self.state_dict()
        for key, value in own.items():
            found = state_dict.get(prefix + key)
            if found is None or found.shape != value.shape:
                shape = 'missing' if found is None else f'of shape {tuple(found.shape)}'
                raise CheckpointError(
                    f'{prefix}{key} is {shape} in the checkpoint, expected '
                    f'{tuple(value.shape)}; give the file that '
                    'tools/train_cell_classifier.py wrote with this config')
        super()._load_from_state_dict(state_dict, prefix, *args)


@MODELS.register_module()
class ReclassifyingSegmentor(CellSegmentor):
    """A segmentor that finds nuclei, and a cell classifier that classifies them.

    As in CellViT++ (arXiv:2501.05269) the classes need not be those of the segmentor.
    Outlines are the segmentor's; `labels`, `scores`, `class_probs` and `pred_sem_seg`
    are the classifier's. `pred_instances` also keeps the (N, D) tokens as `embeddings`.
    `tools/train_cell_classifier.py` trains the classifier.

    Args:
        cell_classifier: Config of a `CellClassifier`, without `in_channels`: they are
            those of the decode head.
        **kwargs: Arguments of `CellSegmentor`; the `num_classes` of its decode head are
            the segmentor's own.
    """

    def __init__(self, *args, cell_classifier: dict, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.cell_classifier = MODELS.build(
            dict(cell_classifier, in_channels=self.decode_head.in_channels[-1]))

    @property
    def num_result_classes(self) -> int:
        """Number of classes that nuclei can get, background included."""
        return self.cell_classifier.num_classes

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Refuses to compute maps alone: nuclei would get the segmentor's classes.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            'ReclassifyingSegmentor: maps alone hold the classes of its segmentor, not '
            "the classifier's; call the model with mode='predict', as tools/test.py")

    def predict_maps(self, inputs: Tensor,
                     data_samples: SampleList) -> list[tuple[Tensor, Tensor]]:
        """Computes each image's maps and tokens; see `predict_maps_and_tokens`."""
        return self.predict_maps_and_tokens(inputs, data_samples)

    def postprocess_result(self, maps: list[tuple[Tensor, Tensor]],
                           data_samples: SampleList) -> SampleList:
        """Turns each image's maps into nuclei and classifies them by their tokens."""
        super().postprocess_result([own for own, _ in maps], data_samples)
        for (own, tokens), sample in zip(maps, data_samples, strict=True):
            self._reclassify(sample, tokens, own.shape[-2:])
        return data_samples

    @torch.no_grad()
    def classify_tokens(
            self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Classifies nuclei by their tokens.

        Args:
            tokens: (N, D) float, of any precision.

        Returns:
            (N,) int64 class ids 1..C-1, their (N,) float32 probabilities 0-1, and the
            (N, C) float32 probabilities of all classes.
        """
        tokens = torch.from_numpy(tokens.astype(np.float32, copy=False))
        probs = self.cell_classifier.class_probs(tokens).cpu().numpy()
        return probs[:, 1:].argmax(axis=1) + 1, probs.max(axis=1, initial=0), probs

    def _reclassify(self, sample: SegDataSample, tokens: Tensor,
                    seen_shape: tuple[int, int]) -> None:
        """Replaces the classes of an image's nuclei; the network saw it as (H, W)."""
        nuclei = sample.pred_instances
        # Boxes are in px of the original image, tokens in the grid of the network.
        boxes = nuclei.bboxes * np.tile(seen_shape[::-1], 2)
        boxes = boxes / np.tile(sample.metainfo['ori_shape'][1::-1], 2)
        nuclei.embeddings = cell_tokens(tokens.cpu().numpy(), boxes)
        nuclei.labels, nuclei.scores, nuclei.class_probs = self.classify_tokens(
            nuclei.embeddings)
        sample.pred_sem_seg = paint_classes(
            sample.pred_inst_map.data[0].numpy(), nuclei.labels)
