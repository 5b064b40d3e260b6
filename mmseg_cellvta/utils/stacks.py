# Copyright (c) CellVTA-MMSeg contributors.
"""What differs between the maintained OpenMMLab builds and the official releases.

Both install `mmcv`, `mmengine` and `mmseg`. Everything else of the package knows no
difference between them.
"""
import warnings
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from io import StringIO

# The maintained builds print it at every start: an optional package is not there.
NOISE = 'Could not import OneDL'
# Of mmcv without compiled ops; `DeformableAttention` has a form for that case.
ATTENTION_WARNING = 'Fail to import ``MultiScaleDeformableAttention``'


def import_mmseg() -> None:
    """Imports MMSegmentation without lines that concern no user of this package."""
    with redirect_stdout(StringIO()) as printed, warnings.catch_warnings():
        warnings.filterwarnings('ignore', ATTENTION_WARNING, UserWarning)
        import mmseg.datasets
        import mmseg.models  # noqa: F401
    for line in printed.getvalue().splitlines():
        if line != NOISE:
            print(line)


def stack_versions() -> dict[str, str]:
    """Returns the version of each OpenMMLab package, and which package that is."""
    packages = packages_distributions()
    return {
        name: f'{import_module(name).__version__} ({packages.get(name, ["?"])[0]})'
        for name in ('mmcv', 'mmengine', 'mmseg')
    }


def compiled_op_cuda() -> str | None:
    """Returns the CUDA version that mmcv's compiled ops were built with.

    None where mmcv has no compiled ops, 'not available' where they run on CPUs only.
    """
    if find_spec('mmcv._ext') is None:
        return None
    from mmcv.ops import get_compiling_cuda_version
    return get_compiling_cuda_version()
