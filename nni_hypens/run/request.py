"""What a user asks of a choice of members that is made again, without training; imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nni_hypens.errors import InputError
from nni_hypens.selection.names import ALL


@dataclass(frozen=True)
class Request:
    """Members that a user asks for.

    Attributes:
        sizes: Numbers of members to try, ascending; empty if ids are given.
        ids: The members themselves; empty if sizes are given.
        all: Whether every candidate is to be a member, with fitted weights.
    """

    sizes: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()
    all: bool = False

    @classmethod
    def read(cls, members: str | None, ids: str | None) -> Request | None:
        """Read the flags `--members` (a number, a range such as 1..5, or all) and `--ids` (names, commas between them).

        Returns:
            The request, or None if neither flag is given.

        Raises:
            InputError: Both are given, or one has another form.

        Examples:
            >>> Request.read("2..4", None)
            Request(sizes=(2, 3, 4), ids=(), all=False)
        """
        if members is not None and ids is not None:
            raise InputError("ids", f"--ids {ids} with --members {members}", "one of them")
        if ids is not None:
            names = tuple(word for part in ids.split(",") if (word := part.strip()))
            if not names or len(set(names)) < len(names):
                raise InputError("ids", repr(ids), "different ids with commas between them, such as c05,c07")
            return cls(ids=names)
        if members is None:
            return None
        if members.strip() == ALL:
            return cls(all=True)
        found = re.fullmatch(r"([1-9][0-9]{0,5})(?:\.\.([1-9][0-9]{0,5}))?", members.strip(), re.ASCII)
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if low > high:
            raise InputError("members", repr(members), "a number of members such as 2, a range such as 1..5, or all")
        return cls(sizes=tuple(range(low, high + 1)))

    @property
    def flags(self) -> str:
        """The flags that ask for this."""
        if self.all:
            return f"--members {ALL}"
        if self.ids:
            return f"--ids {','.join(self.ids)}"
        return f"--members {self.sizes[0]}" + (f"..{self.sizes[-1]}" if len(self.sizes) > 1 else "")
