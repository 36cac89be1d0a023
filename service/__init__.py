"""The application: the HTTP API, the queue, and the processes that train."""

from fitserve import __version__ as __version__
