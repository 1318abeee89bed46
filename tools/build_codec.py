"""Compiles ``mycelium/core/_codec.c`` when the project is installed or its wheel is built, where there is a compiler.

Without one, the installation goes on: everything works, and frames take longer to build and to parse.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Extension
from setuptools.dist import Distribution

SOURCE = "mycelium/core/_codec.c"


class CodecBuildHook(BuildHookInterface[Any]):
    """Called by hatchling, as pyproject.toml says."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put what came of it into the wheel."""
        del version
        if self.target_name != "wheel" or os.environ.get("MYCELIUM_WITHOUT_COMPILER"):
            return
        compiled = self._compile()
        if compiled is None:
            self.app.display_warning(f"{SOURCE} could not be compiled: frames will be built and parsed by Python")
            return
        build_data["artifacts"].append(compiled)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def _compile(self) -> str | None:
        """The path of the module in the repository; None if it could not be made."""
        distribution = Distribution(
            {"ext_modules": [Extension("mycelium.core._codec", [SOURCE], optional=True)], "script_args": ["build_ext"]}
        )
        command = distribution.get_command_obj("build_ext")
        command.inplace = True
        command.build_temp = "build/codec"
        command.ensure_finalized()
        before = Path.cwd()
        os.chdir(self.root)
        try:
            command.run()
            made = command.get_ext_fullpath("mycelium.core._codec")
        finally:
            os.chdir(before)
        found = Path(self.root) / made
        return str(found.relative_to(self.root)) if found.exists() else None
