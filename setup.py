# Copyright (c) CellVTA-MMSeg contributors.
"""Packaging of mmseg_cellvta; `make install` makes a complete environment."""

import os
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mmseg_cellvta'
MIM_CONTENT = ('tools', 'configs', 'model-index.yml')


def read_requirements(name: str) -> list[str]:
    """Lines of requirements/<name>.txt without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def read_version() -> str:
    scope = {}
    exec((ROOT / PACKAGE / 'version.py').read_text(), scope)
    return scope['__version__']


def add_mim(package_dir: Path, link: bool) -> None:
    """Put what `mim` and users of an installed package look for into .mim."""
    mim = package_dir / '.mim'
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir(parents=True)
    for name in MIM_CONTENT:
        source = ROOT / name
        if link:
            (mim / name).symlink_to(os.path.relpath(source, mim))
        elif source.is_dir():
            ignore = shutil.ignore_patterns('__pycache__')
            shutil.copytree(source, mim / name, ignore=ignore)
        else:
            shutil.copy(source, mim / name)


class BuildPyWithMim(build_py):
    """An editable install runs this command too, with `editable_mode` set."""

    def run(self):
        super().run()
        if self.editable_mode:
            add_mim(ROOT / PACKAGE, link=True)
        else:
            add_mim(Path(self.build_lib) / PACKAGE, link=False)


class SdistWithMim(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        add_mim(Path(base_dir) / PACKAGE, link=False)


setup(
    name='mmseg-cellvta',
    version=read_version(),
    description='CellVTA nuclei segmentation inside MMSegmentation',
    license='Apache-2.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['**/*.json', '**/*.html', '**/*.md']},
    python_requires='>=3.11',
    install_requires=read_requirements('runtime'),
    extras_require={
        name: read_requirements(name)
        for name in ('onedl', 'openmmlab', 'tests', 'slides', 'export', 'openvino',
                     'spatial')
    },
    cmdclass={'build_py': BuildPyWithMim, 'sdist': SdistWithMim},
)
