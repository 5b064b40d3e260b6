# Copyright (c) CellVTA-MMSeg contributors.
from collections.abc import Sequence

import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class CellClassifier(BaseModel):
    """CellViT++'s classifier: two linear layers on what the encoder saw of a nucleus.

    It knows no background: whatever the segmentor found is a nucleus
    (arXiv:2501.05269).

    Args:
        in_channels: D, channels of a token.
        num_classes: C, with background.
        hidden_channels: Channels between the two layers.
        dropout: Share of them that is dropped in training, 0-1.
        class_weight: Weights of the classes 1..C-1 in the loss; None for equal ones.

    Raises:
        ValueError: `class_weight` is not one number per class without background.
    """

    def __init__(self,
                 in_channels: int,
                 num_classes: int,
                 hidden_channels: int = 512,
                 dropout: float = 0.1,
                 class_weight: Sequence[float] | None = None) -> None:
        super().__init__()
        if class_weight is not None:
            if len(class_weight) != num_classes - 1:
                raise ValueError(
                    f'class_weight has {len(class_weight)} numbers: expected '
                    f'{num_classes - 1}, one for each class but background')
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
            'tensor': (N, C-1) logits of the classes 1..C-1. 'loss': the loss, and
            `acc_cell` in percent. 'predict': `pred_label` and `gt_label` per nucleus.
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
        """(N, C) float32 probabilities, 0-1; that of background, the first, is 0."""
        probs = self(tokens.to(self.fc1.weight)).float().softmax(dim=1)
        return F.pad(probs, (1, 0))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        """Refuses a checkpoint without this classifier.

        Raises:
            ValueError: MMEngine would only warn, and test a random classifier.
        """
        own = self.state_dict()
        for key, value in own.items():
            found = state_dict.get(prefix + key)
            if found is None or found.shape != value.shape:
                shape = 'missing' if found is None else f'of shape {tuple(found.shape)}'
                raise ValueError(
                    f'{prefix}{key} is {shape} in the checkpoint, expected '
                    f'{tuple(value.shape)}; give the file that '
                    'tools/train_cell_classifier.py wrote with this config')
        super()._load_from_state_dict(state_dict, prefix, *args)
