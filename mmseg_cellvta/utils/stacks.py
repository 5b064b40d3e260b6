# Copyright (c) CellVTA-MMSeg contributors.
"""What differs between the maintained OpenMMLab builds and the official releases.

Both install `mmcv`, `mmengine` and `mmseg`. Everything else of the package knows no
difference between them, nor between torch 2.1 and later versions.
"""
import warnings
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import packages_distributions
from io import StringIO

try:
    from torch.compiler import is_compiling as is_compiling
except ImportError:  # torch before 2.3
    from torch._dynamo.external_utils import is_compiling as is_compiling

# The maintained builds print it at every start: an optional package is not there.
NOISE = 'Could not import OneDL'
# Of mmcv without compiled ops; `DeformableAttention` has a form for that case.
ATTENTION_WARNING = 'Fail to import ``MultiScaleDeformableAttention``'
NO_CUDA = 'not available'  # mmcv's word for the CUDA version of a build without it


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


def find_compiled_attention() -> type | None:
    """Returns the autograd function of mmcv's deformable attention on CUDA.

    None where mmcv was built without CUDA, as its official wheels for the CPU are, or
    without any operators.
    """
    if operators_cuda_version() in (None, NO_CUDA):
        return None
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
    return MultiScaleDeformableAttnFunction


def operators_cuda_version() -> str | None:
    """Returns the CUDA version that mmcv's operators were built with, or `NO_CUDA`.

    None where it has no operators: then even importing `mmcv.ops` fails.
    """
    try:
        from mmcv.ops import get_compiling_cuda_version
    except (ImportError, AssertionError):  # the latter where an operator is missing
        return None
    return get_compiling_cuda_version()
