"""Attaching a debugger: the worker connects to one that listens."""

from __future__ import annotations

from sluice_script import ScriptError


def attach(port: int) -> None:
    """Connect to the debugger at a port of this machine, and wait for it."""
    print("!! Starting the inference server in DEBUGGING mode because AZUREML_DEBUG_PORT is set.")
    print("!! This environment variable should not be set in a production environment.")
    try:
        import debugpy
    except ModuleNotFoundError as error:
        if error.name != "debugpy":
            raise
        raise ScriptError(
            "ModuleNotFound",
            "AZUREML_DEBUG_PORT is set, and module debugpy is not installed in the environment",
            "add debugpy to the dependencies in the environment's conda file",
        ) from None
    print(f"** Connecting to debugger at port {port}...")
    try:
        debugpy.connect(port)
    except OSError as error:
        message = f"no debugger listens at port {port} (AZUREML_DEBUG_PORT): {error}"
        hint = "start listening in the editor first, or take the variable away"
        raise ScriptError("BadValue", message, hint) from error
    debugpy.wait_for_client()
