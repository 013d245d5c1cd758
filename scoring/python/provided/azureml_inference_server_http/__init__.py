"""What scoring scripts import of Azure's server, for environments without it.

Where the real package is installed, that one is used and this one is not.
"""

from ._version import __version__ as __version__

_HAS_DEBUGPY_SUPPORT = True
