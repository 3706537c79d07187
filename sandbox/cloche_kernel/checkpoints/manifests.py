"""What a state says, as it goes out: its groups, what is not kept, the versions it was made with."""

from __future__ import annotations

import sys
from collections.abc import Iterable

# Bound here, so that a cell that replaces it does not replace ours.
from json import dumps
from typing import Any

from cloche_kernel.checkpoints.beside import PIECE_BYTES
from cloche_kernel.checkpoints.held import Group, Groups, Said

_NONE: Said = ({}, frozenset())


class Manifests:
    def __init__(self) -> None:
        #: what the state said that went out last, and the edition of its groups
        self.said = _NONE
        self._edition = 0

    def forget(self) -> None:
        """The next one goes out whole."""
        self.said, self._edition = _NONE, 0

    def learn(self, said: Said, groups: Groups) -> None:
        """A state of these groups went out."""
        self.said, self._edition = said, groups.edition

    def pieces(self, fresh: Iterable[Group], groups: Groups) -> tuple[dict[str, Any], list[bytes]]:
        """What the session holds, and that in pieces as the host reads it. `fresh`: groups that are new."""
        members = groups.members()
        state = {"lost": groups.lost(), "versions": _versions(), "tokens": groups.tokens()}
        if self._is_as_sent(state, members, groups):
            return {"same": True}, [b'{"same":true}']
        manifest = {"groups": [group.described for group in fresh if group.described is not None], **state}
        rest = dumps(manifest, separators=(",", ":"))
        # Ten thousand digests take a JSON encoder longer than all else together.
        listed = '["' + '","'.join(members) + '"]' if members else "[]"
        text = f'{rest[:-1]},"members":{listed}}}'.encode("utf-8", "surrogatepass")
        return {**manifest, "members": members}, [
            text[start : start + PIECE_BYTES] for start in range(0, len(text), PIECE_BYTES)
        ]

    def _is_as_sent(self, state: dict[str, Any], members: list[str], groups: Groups) -> bool:
        """Was the state that went out last this very one? Notes this one."""
        before, had = self.said
        if self._edition == groups.edition and state == before:
            return True
        unordered = frozenset(members)
        self.learn((state, unordered), groups)
        return unordered == had and state == before


def _versions() -> dict[str, str]:
    """What the state was made with: Python, and the packages whose values it may hold."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("numpy", "pandas", "pyarrow", "polars", "sklearn", "scipy", "matplotlib", "duckdb"):
        module = sys.modules.get(name)
        if module is not None:
            found[name] = str(getattr(module, "__version__", "?"))
    return found
