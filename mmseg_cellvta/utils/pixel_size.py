# Copyright (c) CellVTA-MMSeg contributors.
"""Which sizes of a pixel, µm/px, can be true (plain Python)."""

# A microscope's pixels, in which nuclei can be seen. Screens and printers write 72, 96
# or 300 dpi into the same field of a file, which would be pixels of 85 µm and more.
PLAUSIBLE_MPP = (0.05, 2.5)  # µm/px
OBJECTIVE_MPP = 10  # µm/px times magnification: about 0.25 at 40x, 0.5 at 20x


def is_plausible(mpp: float | None) -> bool:
    """Returns True for a size of a pixel, µm, that a microscope makes of nuclei."""
    return bool(mpp) and PLAUSIBLE_MPP[0] <= mpp < PLAUSIBLE_MPP[1]


def mpp_problem(mpp: float) -> str | None:
    """Says what is wrong with µm/px that a person gave; None if nothing is."""
    if is_plausible(mpp):
        return None
    if not mpp > 0:
        return 'expected µm/px above 0, such as 0.25 for 40x'
    low, high = PLAUSIBLE_MPP
    hint = '; is that a magnification?' if mpp >= high else ''
    return f'expected µm/px from {low} to {high}, such as 0.25 for 40x{hint}'
