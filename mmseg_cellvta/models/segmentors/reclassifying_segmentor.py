# Copyright (c) CellVTA-MMSeg contributors.
import numpy as np
import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList
from torch import Tensor

from ...post_processing import cell_tokens
from .cell_segmentor import CellSegmentor, paint_classes


@MODELS.register_module()
class ReclassifyingSegmentor(CellSegmentor):
    """A segmentor that finds nuclei, and a cell classifier that says what they are.

    As in CellViT++ (arXiv:2501.05269) the classes need not be those of the segmentor:
    outlines are the segmentor's, `labels`, `scores`, `class_probs` and `pred_sem_seg`
    the classifier's. `pred_instances` also keeps the (N, D) tokens as `embeddings`.
    `tools/train_cell_classifier.py` trains the classifier.

    Args:
        cell_classifier: Config of a `CellClassifier`; it gets `in_channels` from the
            decode head.
        **kwargs: Arguments of `CellSegmentor`, of which `num_classes` are the
            segmentor's own.
    """

    def __init__(self, *args, cell_classifier: dict, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.cell_classifier = MODELS.build(
            dict(cell_classifier, in_channels=self.decode_head.in_channels[-1]))

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Refuses: from maps alone nuclei would get the segmentor's classes.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            'ReclassifyingSegmentor: maps alone hold the classes of its segmentor, not '
            "the classifier's; call the model with mode='predict', as tools/test.py")

    def predict_maps(self, inputs: Tensor,
                     data_samples: SampleList) -> list[tuple[Tensor, Tensor]]:
        """Computes maps and tokens: both decide what a nucleus is."""
        return self.predict_maps_and_tokens(inputs, data_samples)

    def postprocess_result(self, maps: list[tuple[Tensor, Tensor]],
                           data_samples: SampleList) -> SampleList:
        """Turns each picture's maps into nuclei and classifies them by their tokens."""
        super().postprocess_result([own for own, _ in maps], data_samples)
        for (own, tokens), sample in zip(maps, data_samples, strict=True):
            self._reclassify(sample, tokens, own.shape[-2:])
        return data_samples

    @torch.no_grad()
    def classify_tokens(
            self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Says what nuclei are by their tokens (N, D).

        Returns:
            Class ids (N,) from 1 on, their probabilities (N,), and those of all classes
            (N, C), 0-1.
        """
        tokens = torch.from_numpy(tokens.astype(np.float32, copy=False))
        probs = self.cell_classifier.class_probs(tokens).cpu().numpy()
        return probs[:, 1:].argmax(axis=1) + 1, probs.max(axis=1, initial=0), probs

    def _reclassify(self, sample: SegDataSample, tokens: Tensor,
                    seen_shape: tuple[int, int]) -> None:
        """Replaces the classes of the nuclei of a picture that was seen as (H, W)."""
        nuclei = sample.pred_instances
        # Boxes are in the original picture, tokens in what the network saw of it.
        boxes = nuclei.bboxes * np.tile(seen_shape[::-1], 2)
        boxes = boxes / np.tile(sample.metainfo['ori_shape'][1::-1], 2)
        nuclei.embeddings = cell_tokens(tokens.cpu().numpy(), boxes)
        nuclei.labels, nuclei.scores, nuclei.class_probs = self.classify_tokens(
            nuclei.embeddings)
        sample.pred_sem_seg = paint_classes(
            sample.pred_inst_map.data[0].numpy(), nuclei.labels)
