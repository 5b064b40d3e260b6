# Copyright (c) CellVTA-MMSeg contributors.
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True)
class GroupSplit:
    """Divides pictures into parts, never those of one group.

    Attributes:
        val_share (float): Share of the groups for validation, 0-1.
        test_share (float): Share of the groups for testing, 0-1.
        pattern (str): Regular expression that is looked for in the name of a picture;
            its first group names the group, such as a patient. By default each picture
            is a group.

    Raises:
        ValueError: If the shares leave nothing to train on, or the pattern is wrong.
    """
    val_share: float
    test_share: float
    pattern: str = '(.+)'

    def __post_init__(self) -> None:
        if min(self.val_share, self.test_share) < 0 or (
                self.val_share + self.test_share >= 1):
            raise ValueError(
                f'shares of {self.val_share} and {self.test_share} for validation and '
                'testing: expected 0 or more, together less than 1')
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise ValueError(f'--group {self.pattern}: {error}') from error
        if not groups:
            raise ValueError(f'--group {self.pattern}: expected round brackets around '
                             'what names the group')

    def assign(self, names: Sequence[str]) -> list[str]:
        """Part of each picture: 'train', 'val' or 'test'; the same on every machine.

        Raises:
            ValueError: If a name has no group, or there are too few groups.
        """
        groups = [self._group(name) for name in names]
        # Ordered by a hash: arbitrary, yet repeatable.
        order = sorted(set(groups), key=lambda group: sha256(group.encode()).digest())
        num_val, num_test = (
            max(round(share * len(order)), 1) if share else 0
            for share in (self.val_share, self.test_share))
        if num_val + num_test >= len(order):
            raise ValueError(
                f'{len(order)} pictures or groups, of which {num_val} should validate '
                f'and {num_test} test: none is left to train on; give --val-share 0 or '
                '--test-share 0')
        part_of = dict.fromkeys(order, 'train')
        part_of.update(dict.fromkeys(order[:num_val], 'val'))
        part_of.update(dict.fromkeys(order[num_val:num_val + num_test], 'test'))
        return [part_of[group] for group in groups]

    def _group(self, name: str) -> str:
        match = re.search(self.pattern, name)
        if match is None or match[1] is None:
            raise ValueError(f'{name}: --group {self.pattern} does not match this name')
        return match[1]
