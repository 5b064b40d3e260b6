# Copyright (c) CellVTA-MMSeg contributors.
"""Which size of a pixel, µm/px, is taken for true (plain Python)."""

# A microscope's pixels, in which nuclei can be seen. Screens and printers write 72, 96
# or 300 dpi into the same field of a file, which would be pixels of 85 µm and more.
PLAUSIBLE_MPP = (0.05, 2.5)  # µm/px
GIVEN_TOLERANCE = 0.05  # relative difference up to which a given size is as stated
SQUARE_TOLERANCE = 0.05  # largest relative difference of a square pixel's sides
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


def square_mpp(name: str, mpp_x: float | None, mpp_y: float | None) -> float | None:
    """Returns the size of a pixel by the width and height that a file states.

    Args:
        name: File name, for the message.
        mpp_x: Width of a pixel, µm.
        mpp_y: Height of a pixel, µm.

    Returns:
        The mean of both, µm; None if one is missing or no microscope has such pixels.

    Raises:
        ValueError: When a pixel is not square.
    """
    if not (is_plausible(mpp_x) and is_plausible(mpp_y)):
        return None
    mean = (mpp_x + mpp_y) / 2
    if abs(mpp_x - mpp_y) > SQUARE_TOLERANCE * mean:
        raise ValueError(
            f'{name}: its pixels are {mpp_x:g} µm wide and {mpp_y:g} µm high; expected '
            'square ones; if the file is wrong, give their size with --mpp (µm/px)')
    return mean


def choose_mpp(name: str, given: float | None, force: bool,
               mpp_x: float | None = None, mpp_y: float | None = None
               ) -> tuple[float | None, str | None]:
    """Returns the size of a pixel by what a person gives and what a file states.

    What the file states is kept: a size that is given for a whole folder would be wrong
    for some of its files.

    Args:
        name: File name, for messages.
        given: Size of a pixel that a person gives, µm; None for the file's.
        force: Take the given size, whatever the file states.
        mpp_x: Width of a pixel that the file states, µm; None if it does not.
        mpp_y: The same of its height.

    Returns:
        µm/px, None if neither says it; and a remark where both differ.

    Raises:
        ValueError: When no pixel has the given size, or the stated one is not square
            and none is given.
    """
    if given is None:
        return square_mpp(name, mpp_x, mpp_y), None
    if problem := mpp_problem(given):
        raise ValueError(f'{name}: mpp={given}; {problem}')
    try:
        stated = square_mpp(name, mpp_x, mpp_y)
    except ValueError:  # the message asks for a given size
        stated = None
    if stated is None or force or abs(given / stated - 1) <= GIVEN_TOLERANCE:
        return given, None
    return stated, (f'{name}: it states {stated:.4g} µm/px, which is kept; '
                    f'--mpp {given:g} needs --force-mpp')
