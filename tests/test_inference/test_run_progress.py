# Copyright (c) CellVTA-MMSeg contributors.
from mmseg_cellvta.inference.run_progress import RunProgress


def count(quiet):
    with RunProgress(quiet) as progress:
        progress.begin('slide', num_tiles=10, mm2_per_tile=0.5)
        progress.add_tiles(4)
        progress.add_tiles(2)
        progress.add_cells(7)
        progress.add_cells(1)
        task, = progress.bar.tasks
    return task


def test_tiles_cells_and_area_add_up(capsys):
    task = count(quiet=False)
    assert (task.completed, task.total) == (6, 10)
    assert task.fields == dict(cells=8, mm2=3.0)
    assert 'slide' in capsys.readouterr().err


def test_quiet_prints_nothing(capsys):
    count(quiet=True)
    assert capsys.readouterr() == ('', '')
