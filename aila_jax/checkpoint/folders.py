"""Where checkpoints lie in a run directory."""

from pathlib import Path

DIRECTORY = "checkpoints"  # inside a run directory


def whole_steps(directory: Path) -> list[int]:
    """The steps saved in a checkpoints folder, oldest first; a step folder without a record is none."""
    return [step for step in step_folders(directory) if (directory / str(step) / "record").is_dir()]


def incomplete_steps(directory: Path) -> list[int]:
    """Steps whose folder lacks its record: copied in part, say, since saving itself makes whole folders
    only.
    """
    return [step for step in step_folders(directory) if not (directory / str(step) / "record").is_dir()]


def step_folders(directory: Path) -> list[int]:
    """The numbers that name folders there, written as they are saved: 24, and not 024."""
    if not directory.is_dir():
        return []
    names = [entry.name for entry in directory.iterdir() if entry.name.isdecimal()]
    return sorted(int(name) for name in names if str(int(name)) == name)
