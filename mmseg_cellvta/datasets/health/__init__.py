# Copyright (c) CellVTA-MMSeg contributors.
from .health_report import HealthReport
from .inspect_parts import inspect_parts

__all__ = ['HealthReport', 'inspect_parts']
