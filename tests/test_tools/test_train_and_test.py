# Copyright (c) CellVTA-MMSeg contributors.
"""Options and errors of tools/train.py and tools/test.py, without training."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_cellvta.datasets.transforms import PackCellInputs
from mmseg_cellvta.models import CellTTAModel

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
CONFIG = """
root = '/old'
model = dict(type='Net')
optim_wrapper = dict(type='OptimWrapper')
visualizer = dict(type='CellVisualizer')
custom_hooks = [dict(type='Mine')]
default_hooks = dict(visualization=dict(type='CellVisualizationHook'))
test_dataloader = dict(dataset=dict(pipeline=['plain'], data_root=root))
test_evaluator = dict(type='CellInstanceMetric')
tta_pipeline = [dict(type='Augmented')]
tta_model = dict(type='CellTTAModel')
"""


class FakeRunner:
    def train(self):
        pass

    test = train


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call a tool's main with arguments; returns the config it gives the runner."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.setenv('LOCAL_RANK', '0')
    (tmp_path / 'small.py').write_text(CONFIG)
    (tmp_path / 'weights.pth').touch()
    seen = []
    from_cfg = classmethod(lambda cls, cfg: seen.append(cfg) or FakeRunner())
    monkeypatch.setattr(Runner, 'from_cfg', from_cfg)

    def call(tool: str, *args: str) -> Config:
        monkeypatch.setattr(sys, 'argv', [tool, *args])
        spec = importlib.util.spec_from_file_location(tool, TOOLS / f'{tool}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main()
        return seen[-1]

    return call


@pytest.mark.parametrize('args', [('train',), ('test', 'weights.pth')])
def test_work_dir_follows_the_config_name_unless_given(run, args):
    tool, *rest = args
    assert run(tool, 'small.py', *rest).work_dir == './work_dirs/small'
    assert run(tool, 'small.py', *rest, '--work-dir', 'w').work_dir == 'w'


@pytest.mark.parametrize('args', [('train',), ('test', 'weights.pth')])
def test_cfg_options_and_launcher_reach_the_config(run, args):
    tool, *rest = args
    options = ['--launcher', 'slurm', '--cfg-options', 'model.depth=3', 'root=/new']
    cfg = run(tool, 'small.py', *rest, *options)
    assert cfg.launcher == 'slurm' and cfg.model.depth == 3
    assert cfg.test_dataloader.dataset.data_root == '/new'


@pytest.mark.parametrize('args', [('train',), ('test', 'weights.pth')])
def test_an_option_without_effect_ends_with_one_sentence(run, args):
    tool, *rest = args
    with pytest.raises(SystemExit, match='^error: --cfg-options rot: small.py has no'):
        run(tool, 'small.py', *rest, '--cfg-options', 'rot=/new')


def test_resume_is_off_unless_asked_for(run):
    assert run('train', 'small.py').resume is False
    assert run('train', 'small.py', '--resume').resume is True


PYTHON_CONFIG = """
from mmengine.hooks import IterTimerHook
from mmengine.optim import OptimWrapper
from mmseg_cellvta.datasets.transforms import PackCellInputs
from mmseg_cellvta.engine import CellVisualizationHook
from mmseg_cellvta.evaluation import CellInstanceMetric
from mmseg_cellvta.models import CellSegmentor, CellTTAModel
from mmseg_cellvta.visualization import CellVisualizer

root = '/old'
model = dict(type=CellSegmentor)
optim_wrapper = dict(type=OptimWrapper)
visualizer = dict(type=CellVisualizer)
custom_hooks = [dict(type=IterTimerHook)]
default_hooks = dict(visualization=dict(type=CellVisualizationHook))
test_dataloader = dict(dataset=dict(pipeline=['plain'], data_root=root))
test_evaluator = [dict(type=CellInstanceMetric)]
tta_pipeline = [dict(type=PackCellInputs)]
tta_model = dict(type=CellTTAModel)
"""


@pytest.fixture
def device(monkeypatch):
    """Where MMEngine would train; changed by assigning to `name`."""
    device = SimpleNamespace(name='cuda')
    monkeypatch.setattr('mmengine.device.get_device', lambda: device.name)
    return device


def test_amp_wraps_the_optimizer(run, device):
    wrapper = run('train', 'small.py', '--amp').optim_wrapper
    assert wrapper.type == 'AmpOptimWrapper' and wrapper.loss_scale == 'dynamic'
    assert run('train', 'small.py').optim_wrapper.type == 'OptimWrapper'


def test_a_config_in_pure_python_takes_all_options(run, device, tmp_path):
    (tmp_path / 'small.py').write_text(PYTHON_CONFIG)
    cfg = run('train', 'small.py', '--amp', '--fine-tune', 'weights.pth')
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert [hook.type for hook in cfg.custom_hooks][1] == 'NewClassesHook'
    cfg = run('test', 'small.py', 'weights.pth', '--tta', '--out', 'o', '--show-dir',
              'd', '--cfg-options', 'root=/new')
    assert cfg.model.type is CellTTAModel
    assert cfg.test_evaluator[0].output_dir == 'o'
    assert cfg.test_dataloader.dataset.data_root == '/new'
    assert cfg.test_dataloader.dataset.pipeline[0].type is PackCellInputs
    assert cfg.default_hooks.visualization.draw is True


@pytest.mark.parametrize('name', ['cpu', 'mps'])
@pytest.mark.parametrize('options', [
    ['--amp'], ['--amp', '--cfg-options', 'optim_wrapper.type=mmseg.OptimWrapper'],
    ['--cfg-options', 'optim_wrapper.type=AmpOptimWrapper',
     'optim_wrapper.dtype=bfloat16'],
    ['--amp', '--cfg-options', 'optim_wrapper.type=CPUAmpOptimWrapper']])
def test_half_precision_without_cuda_is_that_of_a_cpu(
        run, device, name, options, capsys):
    device.name = name
    wrapper = run('train', 'small.py', *options).optim_wrapper
    assert dict(wrapper) == dict(type='CPUAmpOptimWrapper')
    assert ('No GPU that' in capsys.readouterr().out) is (
        options[-1] != 'optim_wrapper.type=CPUAmpOptimWrapper')


def test_fine_tuning_loads_the_checkpoint_with_new_classes(run):
    cfg = run('train', 'small.py', '--fine-tune', 'weights.pth')
    assert cfg.load_from == 'weights.pth' and cfg.resume is False
    assert cfg.custom_hooks == [dict(type='Mine'), dict(type='NewClassesHook')]
    with pytest.raises(SystemExit, match='^checkpoint gone.pth: no such file'):
        run('train', 'small.py', '--fine-tune', 'gone.pth')
    with pytest.raises(SystemExit, match='2'):
        run('train', 'small.py', '--fine-tune', 'weights.pth', '--resume')


def test_amp_with_another_wrapper_names_it(run):
    options = ['--amp', '--cfg-options', 'optim_wrapper.type=ApexOptimWrapper']
    with pytest.raises(SystemExit, match='ApexOptimWrapper'):
        run('train', 'small.py', *options)


def test_out_goes_to_the_evaluator(run):
    evaluator = run('test', 'small.py', 'weights.pth', '--out', 'o').test_evaluator
    assert evaluator.output_dir == 'o' and evaluator.keep_results is True


def test_checkpoint_is_loaded(run):
    assert run('test', 'small.py', 'weights.pth').load_from == 'weights.pth'
    url = 'https://host/weights.pth'
    assert run('test', 'small.py', url).load_from == url


def test_show_dir_switches_drawing_on(run):
    cfg = run('test', 'small.py', 'weights.pth', '--show-dir', 'images')
    assert cfg.default_hooks.visualization.draw is True
    assert 'show' not in cfg.default_hooks.visualization
    assert cfg.visualizer.save_dir == 'images'
    assert cfg.visualizer.vis_backends == [dict(type='LocalVisBackend')]


def test_show_passes_the_wait_time(run):
    cfg = run('test', 'small.py', 'weights.pth', '--show', '--wait-time', '1.5')
    assert cfg.default_hooks.visualization.show is True
    assert cfg.default_hooks.visualization.wait_time == 1.5


@pytest.mark.parametrize('options, message', [
    (['--show', '--cfg-options', 'default_hooks._delete_=True'], 'VisualizationHook'),
    (['--show', '--cfg-options', 'default_hooks.visualization=None'],
     'VisualizationHook'),
    (['--show-dir', 'd', '--cfg-options', 'visualizer=None'], 'CellVisualizer'),
    (['--tta', '--cfg-options', 'tta_model=None'], '--tta needs tta_model'),
    (['--out', 'o', '--cfg-options', 'test_evaluator=None'], 'no metric of test_ev')])
def test_an_option_that_the_config_does_not_serve_says_what_to_add(
        run, options, message):
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        run('test', 'small.py', 'weights.pth', *options)


def test_tta_wraps_the_model(run):
    cfg = run('test', 'small.py', 'weights.pth', '--tta')
    assert cfg.model.type == 'CellTTAModel' and cfg.model.module.type == 'Net'
    assert cfg.test_dataloader.dataset.pipeline == [dict(type='Augmented')]


def test_a_test_runs_the_form_for_inference_and_keeps_the_configs_hooks(run):
    cfg = run('test', 'small.py', 'weights.pth')
    assert cfg.custom_hooks == [dict(type='Mine'), dict(type='SwitchToDeployHook')]
    assert run('train', 'small.py').custom_hooks == [dict(type='Mine')]


@pytest.mark.parametrize(
    'args, role',
    [
        (('train', 'gone.py'), 'config gone.py'),
        (('test', 'gone.py', 'weights.pth'), 'config gone.py'),
        (('test', 'small.py', 'gone.pth'), 'checkpoint gone.pth'),
    ],
)
def test_missing_file_ends_with_one_sentence(run, args, role):
    with pytest.raises(SystemExit, match=f'^{role}: no such file'):
        run(*args)


def test_tools_run_from_any_folder_without_installation(tmp_path):
    """An isolated Python, which sees neither the current folder nor PYTHONPATH."""
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    code = (
        f'import sys; sys.path.insert(0, {str(TOOLS)!r}); '
        'sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f)]; '
        'import launch; launch.find_package(); '
        'import importlib.util as u; print(u.find_spec("mmseg_cellvta").origin)'
    )
    command = [sys.executable, '-W', 'ignore', '-c', code]
    result = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True
    )
    origin = result.stdout.strip().splitlines()[-1]
    assert Path(origin) == TOOLS.parent / 'mmseg_cellvta' / '__init__.py'
