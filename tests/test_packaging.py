# Copyright (c) CellVTA-MMSeg contributors.
"""Builds of the package, and the parts of `make install` that need no network."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from rule_segmentor import draw_slide

ROOT = Path(__file__).resolve().parents[1]
MIM_FILES = ['tools/train.py', 'configs/_base_/default_runtime.py', 'model-index.yml']
# What pip calls. Plain setuptools, so that no network and no build environment is used.
BUILD = 'from setuptools import build_meta; build_meta.build_{}("dist")'
# Names of modules where they are not those of their packages.
MODULES = {'scikit-image': 'skimage', 'scikit-learn': 'sklearn', 'pillow': 'PIL',
           'openslide-python': 'openslide'}
# What single files import in functions, and say so when it is not there.
OPTIONAL = dict(
    spatialdata_export={'spatialdata', 'geopandas', 'anndata', 'dask', 'xarray',
                        'pandas'},
    bin_counts={'anndata', 'h5py', 'pandas'},
    lazyslide_model={'lazyslide_models'},
    openvino_network={'openvino'})
FORBIDDEN = ('mmcv', 'mmengine', 'mmsegmentation', 'opencv')


@pytest.fixture
def source(tmp_path):
    """A copy of what packaging reads."""
    source = tmp_path / 'source'
    ignore = shutil.ignore_patterns('__pycache__', '.mim', '*.egg-info')
    for name in ('mmseg_cellvta', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE'):
        shutil.copy(ROOT / name, source / name)
    shutil.copy(ROOT / 'model-index.yml', source / 'model-index.yml')
    return source


def build(source: Path, kind: str) -> Path:
    code = BUILD.format(kind)
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=source, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    (built,) = (source / 'dist').iterdir()
    return built


def test_wheel_carries_mim_content_and_data_files(source):
    with zipfile.ZipFile(build(source, 'wheel')) as wheel:
        names = wheel.namelist()
    for name in MIM_FILES:
        assert f'mmseg_cellvta/.mim/{name}' in names
    assert 'mmseg_cellvta/version.py' in names
    for kind in ('*.json', '*.html', '*.md'):
        for path in (source / 'mmseg_cellvta').rglob(kind):
            assert path.relative_to(source).as_posix() in names


@pytest.mark.integration
def test_an_installed_wheel_runs_a_model_folder(source, tmp_path):
    """Nothing of the checkout is needed: configs and tools are in `.mim`."""
    site, image = tmp_path / 'site', tmp_path / 'image.png'
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index',
         '--target', site, build(source, 'wheel')], check=True)
    shutil.rmtree(source)
    cv2.imwrite(str(image), draw_slide(200, 150)[0][..., ::-1])
    config = site / 'mmseg_cellvta/.mim/configs/cellvta_tiny_synthetic.py'
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')

    def run(*arguments):
        result = subprocess.run(
            [sys.executable, *map(str, arguments)], cwd=tmp_path, text=True,
            env=dict(os.environ, PYTHONPATH=str(site)), capture_output=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    where = run('-c', 'import mmseg_cellvta; print(mmseg_cellvta.__file__)')
    assert Path(where.strip()).is_relative_to(site)
    tools = site / 'mmseg_cellvta/.mim/tools'
    run(tools / 'publish_model.py', config, 'weights.pth', 'model')
    run(tools / 'infer.py', 'model', image, '--out', 'cells', '--mpp', '0.5',
        '--device', 'cpu')
    assert (tmp_path / 'cells/image.geojson').is_file()


def test_sdist_carries_mim_content_and_what_building_needs(source):
    with tarfile.open(build(source, 'sdist')) as sdist:
        names = {name.split('/', 1)[-1] for name in sdist.getnames()}
    for name in MIM_FILES:
        assert {name, f'mmseg_cellvta/.mim/{name}'} <= names
    assert {'requirements/runtime.txt', 'LICENSE'} <= names


def test_editable_install_links_mim_content(source):
    build(source, 'editable')
    for name in MIM_FILES:
        linked = source / 'mmseg_cellvta' / '.mim' / name
        assert linked.samefile(source / name)


def test_building_leaves_no_mim_content_in_the_sources(source):
    build(source, 'wheel')
    assert not (source / 'mmseg_cellvta' / '.mim').exists()


def test_no_package_set_is_a_hard_requirement():
    """The two sets install the same modules under different names."""
    lines = (ROOT / 'requirements' / 'runtime.txt').read_text().splitlines()
    required = [line for line in lines if line and not line.startswith('#')]
    assert 'timm>=1.0.20' in required and 'ftfy' in required
    assert not [line for line in required if any(name in line for name in FORBIDDEN)]


def requirements(name: str) -> set[str]:
    text = (ROOT / f'requirements/{name}.txt').read_text().lower()
    return set(re.findall(r'^[a-z][\w-]*', text, re.M))


def imported(path: Path) -> set[str]:
    """Names of the packages that a file imports anywhere, without the standard ones."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.split('.')[0] for name in names} - sys.stdlib_module_names


def test_what_the_package_imports_is_required():
    """An MMSegmentation environment needs no more than requirements/runtime.txt.

    Slides and the export to scverse have files of their own.
    """
    required = {'torch', 'torchvision', 'cv2', 'mmcv', 'mmengine', 'mmseg'}
    for path in (ROOT / 'mmseg_cellvta').rglob('*.py'):
        names = set(requirements('runtime'))
        if path.parent.name == 'slides':
            names |= requirements('slides')
        elif path.stem in OPTIONAL:
            names |= OPTIONAL[path.stem]
        missing = imported(path) - required - {MODULES.get(n, n) for n in names}
        assert not missing, path


def test_every_tool_imports_what_is_required():
    required = requirements('runtime') | {'yaml', 'torch', 'cv2', 'mmengine', 'mmseg',
                                          'mmseg_cellvta'}
    local = {path.stem for path in (ROOT / 'tools').rglob('*.py')}
    for path in (ROOT / 'tools').rglob('*.py'):
        assert imported(path) <= {MODULES.get(n, n) for n in required} | local, path


def test_the_drop_in_page_lists_all_packages():
    page = (ROOT / 'docs/drop_in.md').read_text()
    listed = set(re.findall(r'`([a-z][\w-]*)`', page))
    assert requirements('runtime') | requirements('slides') <= listed


@pytest.mark.parametrize('name', [
    'torch.OutOfMemoryError', 'torch.compiler.is_compiling', 'torch.accelerator',
    'torch.amp.GradScaler', 'torch.library.custom_op', 'torch.nn.RMSNorm',
    'torch.get_device_module',
    'np.trapezoid', 'np.concat(', 'np.astype', 'np.vecdot', 'np.unique_values'])
def test_nothing_newer_than_torch_2_1_and_numpy_1_is_used(name):
    """Environments that have MMSegmentation already have these."""
    assert not [path for folder in ('mmseg_cellvta', 'tools')
                for path in (ROOT / folder).rglob('*.py') if name in path.read_text()]


def test_supported_pythons_are_the_same_everywhere():
    first, last = re.search(r'Python 3\.(\d+) to 3\.(\d+)',
                            (ROOT / 'README.md').read_text()).groups()
    setup = (ROOT / 'setup.py').read_text()
    assert re.search(r"python_requires='>=3\.(\d+)'", setup)[1] == first
    condition = re.search(r'not (\(3, .*?\)) <= sys.version_info < (\(3, .*?\))',
                          (ROOT / 'requirements/install.sh').read_text())
    low, high = map(ast.literal_eval, condition.groups())
    assert (low, high) == ((3, int(first)), (3, int(last) + 1))
    assert f"target-version = 'py3{first}'" in (ROOT / 'pyproject.toml').read_text()
    if (ROOT / '.ci/run').is_file():
        tried = re.search(r'for version in (.*);', (ROOT / '.ci/run').read_text())[1]
        assert tried.split() == [f'3.{i}' for i in range(int(first), int(last) + 1)]


def test_setup_runs_without_torch(source):
    code = 'import sys; sys.modules["torch"] = None; sys.argv[1:] = ["--version"]; '
    code += 'exec(open("setup.py").read(), {"__file__": "setup.py"})'
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=source, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def make_install(venv: Path, **variables) -> subprocess.CompletedProcess:
    variables = {'PYTHON': sys.executable, 'VENV': venv, **variables}
    options = [f'{name}={value}' for name, value in variables.items()]
    # An outer make, as in `make test`, would hand its own variables on.
    env = {key: value for key, value in os.environ.items() if 'MAKE' not in key}
    return subprocess.run(
        ['make', 'install', *options],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )


def test_environment_of_one_package_set_refuses_the_other(tmp_path):
    (tmp_path / 'mmseg-cellvta.stamp').write_text('openmmlab 0123\n')
    result = make_install(tmp_path, STACK='onedl')
    assert result.returncode != 0
    assert 'holds the package set openmmlab, which cannot be mixed' in result.stderr


def test_folder_that_is_no_environment_of_ours_is_refused(tmp_path):
    result = make_install(tmp_path)
    assert result.returncode != 0
    assert 'was not made by make install' in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_unknown_package_set_is_refused(tmp_path):
    result = make_install(tmp_path / 'venv', STACK='mmlab')
    assert 'choose STACK=onedl or STACK=openmmlab' in result.stderr
    assert not (tmp_path / 'venv').exists()


def test_unsupported_python_is_refused(tmp_path):
    python = tmp_path / 'python3.9'
    python.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.18\nexit 1\n')
    python.chmod(0o755)
    result = make_install(tmp_path / 'venv', PYTHON=python)
    assert 'Python 3.9.18 is not supported' in result.stderr
    assert not (tmp_path / 'venv').exists()
