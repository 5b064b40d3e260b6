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
from run_tool import run_tool
from tiny_models import SEGMENTOR

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


class FakeData(list):
    get_data_info = list.__getitem__


class FakeRunner:
    images = ('one/a.png', 'one/b.png')

    def train(self):
        pass

    test = train

    @property
    def test_loop(self):
        dataset = FakeData([dict(img_path=path) for path in self.images])
        return SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))


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


@pytest.mark.parametrize(('images', 'message'), [
    (['one/a.png', 'two/a.png'], "several images, the first is 'a'"),
    (['one/a.png', 'one/caf\udce9.png'], 'not in UTF-8')])
@pytest.mark.parametrize('option', ['--out', '--show-dir'])
def test_results_that_would_replace_each_other_are_refused_first(
        run, monkeypatch, option, images, message):
    monkeypatch.setattr(FakeRunner, 'images', images)
    monkeypatch.setattr(FakeRunner, 'test', lambda self: pytest.fail('it began'))
    with pytest.raises(SystemExit, match=f'error: small.py: .*{message}'):
        run('test', 'small.py', 'weights.pth', option, 'o')


def test_without_results_images_may_share_a_name(run, monkeypatch):
    monkeypatch.setattr(FakeRunner, 'images', ['one/a.png', 'two/a.png'])
    run('test', 'small.py', 'weights.pth')


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


def test_tools_add_the_hooks_that_they_need_and_keep_those_of_the_config(run):
    def hooks(*args):
        return [hook['type'] for hook in run(*args).custom_hooks]

    assert hooks('test', 'small.py', 'weights.pth') == [
        'Mine', 'ClassNamesHook', 'SwitchToDeployHook']
    assert hooks('train', 'small.py') == ['Mine']
    assert hooks('train', 'small.py', '--resume') == ['Mine', 'ResumeHook']
    Path('has.py').write_text(CONFIG.replace('Mine', 'ResumeHook'))
    assert hooks('train', 'has.py', '--resume') == ['ResumeHook']


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


@pytest.mark.integration
@pytest.mark.parametrize(('option', 'message'), [
    ('max_iters=8', 'OneCycleLR.total_steps=8 instead of 4'),
    ('train_cfg.max_iters=8', 'its OneCycleLR ends at 4'),
    ('optim_wrapper.optimizer.weight_decay=0.5', 'weight_decay=0.5 instead of 0.01')])
def test_settings_that_come_too_late_end_with_one_sentence(tmp_path, option, message):
    (tmp_path / 'config.py').write_text(f"""
_base_ = '{TOOLS.parent}/configs/_base_/schedules/schedule_iters.py'
custom_imports = dict(imports=['mmseg_cellvta', 'tiny_training'])
max_iters = 4
model = {SEGMENTOR}
train_cfg = dict(max_iters=max_iters)
param_scheduler = [dict(type='OneCycleLR', eta_max=2e-3, total_steps=max_iters,
                        by_epoch=False)]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler'),
    collate_fn=dict(type='pseudo_collate'), dataset=dict(type='TwoImages'))
val_cfg = test_cfg = None
default_hooks = dict(checkpoint=dict(interval=4, save_best=None))
""")
    call = ['train.py', tmp_path / 'config.py', '--work-dir', tmp_path / 'run']
    assert run_tool(*call) == 0
    error = run_tool(*call, '--resume', '--cfg-options', option)
    assert message in error and '\n' not in error
    assert not (tmp_path / 'run/iter_8.pth').exists()
