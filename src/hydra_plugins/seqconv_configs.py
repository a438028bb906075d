"""Config files of other packages: Hydra finds what adds to its search path in this namespace only."""

from __future__ import annotations

from importlib.metadata import entry_points

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

OURS = "pkg://seqconv.conf"
GROUP = "seqconv.configs"


class SeqconvConfigs(SearchPathPlugin):
    """Adds the config packages that installed packages offer by the entry point `seqconv.configs`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add them behind our own, so that nothing of ours is replaced; other applications are left alone."""
        if any(element.path == OURS for element in search_path.get_path()):
            for entry in entry_points(group=GROUP):
                search_path.append(provider=entry.name, path=f"pkg://{entry.value}")
