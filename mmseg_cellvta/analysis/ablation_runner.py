# Copyright (c) CellVTA-MMSeg contributors.
"""Train, test and measure one run of an ablation, from wherever it was stopped."""
from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..evaluation.fold_table import read_metrics
from ..utils.files import complete_file
from .ablation_list import AblationRun
from .child_process import logged_seconds, run_logged

GPUS_PER_NODE = 8
LAST_LINES = 5  # of the log of a run that failed


@dataclass(frozen=True)
class Launcher:
    """How training and test are started.

    Attributes:
        kind (str): 'none', 'pytorch' (several GPUs of this machine) or 'slurm'.
        gpus (int): Processes, one a GPU.
    """
    kind: str = 'none'
    gpus: int = 1

    def command(self, script: Path, *args: str) -> list[str]:
        """Command line that runs a script of ``tools/``."""
        if self.kind == 'none':
            return [sys.executable, str(script), *args]
        if self.kind == 'pytorch':
            start = [sys.executable, '-m', 'torch.distributed.run', '--standalone',
                     '--nproc-per-node', str(self.gpus)]
        else:
            on_node = min(self.gpus, GPUS_PER_NODE)
            start = ['srun', '--ntasks', str(self.gpus), '--ntasks-per-node',
                     str(on_node), f'--gres=gpu:{on_node}', '--kill-on-bad-exit=1',
                     sys.executable]
        return [*start, str(script), *args, '--launcher', self.kind]


class RunFailed(Exception):
    """A command of a run has ended with an error; its last lines say which."""


class AblationRunner:
    """Runs through ``tools/train.py``, ``tools/test.py`` and ``complexity.py``.

    In the folder of a run lie ``config.py``, a log of each command, ``train`` and
    ``test``, and, as soon as all is done, ``result.json``: a run that has it is
    finished. A training that was stopped continues from its last checkpoint.

    Args:
        work_dir (Path): Folder for the folders of all runs.
        tools (Path): The repository's ``tools``.
        launcher (Launcher): How training and test are started.
        lock (int): Of ``folder_lock``.
    """

    def __init__(self, work_dir: Path, tools: Path, launcher: Launcher,
                 lock: int) -> None:
        self.work_dir = work_dir
        self.tools = tools
        self.launcher = launcher
        self.lock = lock

    def finished(self, run: AblationRun) -> dict | None:
        """The result of a run, None if it has none yet."""
        path = self.work_dir / run.folder / 'result.json'
        return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None

    def run(self, run: AblationRun) -> dict:
        """Do what is still to do.

        Returns:
            dict: ``metrics`` (fractions, by name without prefix), ``cost`` (of
            ``complexity.py``, one picture of 256 x 256 px) and ``train_s``.

        Raises:
            RunFailed: If a command fails.
        """
        folder = self.work_dir / run.folder
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / 'config.py'
        run.cfg.dump(config)
        self._train(folder, config)
        checkpoint = self._checkpoint(folder, run.checkpoint)
        self._call(folder, 'test', self.launcher.command(
            self.tools / 'test.py', str(config), str(checkpoint), '--work-dir',
            str(folder / 'test'), '--out', str(folder / 'test')))
        cost = folder / 'cost.json'
        self._call(folder, 'cost', Launcher().command(
            self.tools / 'analysis_tools/complexity.py', str(config), '--out',
            str(cost)))
        result = dict(
            name=run.name, seed=run.seed, key=run.key,
            metrics=read_metrics(folder / 'test/metrics.json'),
            cost=json.loads(cost.read_text(encoding='utf-8'))[0],
            train_s=sum(logged_seconds(log) for log in folder.glob('train_*.log')))
        with complete_file(folder / 'result.json') as part:
            part.write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')
        return result

    def _train(self, folder: Path, config: Path) -> None:
        # Resuming a training that is at its end would still read all its data.
        trained = folder / 'trained'
        if trained.exists():
            return
        train = folder / 'train'
        command = self.launcher.command(
            self.tools / 'train.py', str(config), '--work-dir', str(train))
        if _is_complete(_last_checkpoint(train)):
            command.append('--resume')
        attempt = len(list(folder.glob('train_*.log'))) + 1
        self._call(folder, f'train_{attempt}', command)
        trained.touch()

    def _checkpoint(self, folder: Path, which: str) -> Path:
        train = folder / 'train'
        if which == 'last':
            checkpoint = _last_checkpoint(train)
        else:
            saved = sorted(train.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
            checkpoint = saved[-1] if saved else None
        if checkpoint is None:
            raise RunFailed(f'{train}: the training has left no {which} checkpoint')
        return checkpoint

    def _call(self, folder: Path, name: str, command: Sequence[str]) -> None:
        log = folder / f'{name}.log'
        code = run_logged(command, log, self.lock)
        if code:
            lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
            lines = [line for line in lines if line.strip()][-LAST_LINES:]
            raise RunFailed('\n'.join([f'{log}: exit code {code}', *lines]))


def _last_checkpoint(train: Path) -> Path | None:
    """The checkpoint that MMEngine would resume from."""
    named = train / 'last_checkpoint'
    if not named.is_file():
        return None
    return train / Path(named.read_text(encoding='utf-8').strip()).name


def _is_complete(checkpoint: Path | None) -> bool:
    """Whether a checkpoint is there and was not cut off; its end is its table."""
    return checkpoint is not None and zipfile.is_zipfile(checkpoint)
