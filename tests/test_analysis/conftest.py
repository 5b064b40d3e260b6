# Copyright (c) CellVTA-MMSeg contributors.
"""Stand-ins for the tools that a run calls: four steps, no torch."""
import pytest
from mmengine.config import Config

from mmseg_cellvta.analysis.ablation_list import AblationRun
from mmseg_cellvta.analysis.ablation_runner import AblationRunner, Launcher
from mmseg_cellvta.analysis.child_process import folder_lock

TRAIN = """
import sys, time, zipfile
from pathlib import Path
config = Path(sys.argv[1]).read_text()
folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
folder.mkdir(exist_ok=True)
if 'fails' in config:
    print('first line')
    sys.exit('ValueError: depth=0')
last = folder / 'last_checkpoint'
first = int(Path(last.read_text()).stem) + 1 if '--resume' in sys.argv else 1
for step in range(first, 5):
    if 'slow' in config and step == 3 and first == 1:
        time.sleep(60)
    with zipfile.ZipFile(folder / f'{step}.pth', 'w') as file:
        file.writestr('step', str(step))
    last.write_text(str(folder / f'{step}.pth'))
    print('step', step, flush=True)
"""
TEST = """
import json, sys
from pathlib import Path
folder = Path(sys.argv[sys.argv.index('--out') + 1])
folder.mkdir(exist_ok=True)
step = int(Path(sys.argv[2]).stem)
(folder / 'metrics.json').write_text(
    json.dumps({'cell/bPQ': step / 10, 'cell/mPQ': None}))
"""
COST = """
import json, sys
from pathlib import Path
Path(sys.argv[sys.argv.index('--out') + 1]).write_text(json.dumps([dict(params=7)]))
"""


@pytest.fixture
def tools(tmp_path):
    """A folder with the three scripts."""
    folder = tmp_path / 'tools'
    (folder / 'analysis_tools').mkdir(parents=True)
    (folder / 'train.py').write_text(TRAIN)
    (folder / 'test.py').write_text(TEST)
    (folder / 'analysis_tools/complexity.py').write_text(COST)
    return folder


@pytest.fixture
def runner(tmp_path, tools):
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    with folder_lock(work_dir) as lock:
        yield AblationRunner(work_dir, tools, Launcher(), lock)


@pytest.fixture
def make_run():
    """A run whose config holds a word that the scripts look for."""

    def make(word='quick', checkpoint='last'):
        return AblationRun('a', 0, checkpoint, Config(dict(word=word)))

    return make
