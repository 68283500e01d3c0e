"""The core of Palomar: event loop, configuration, store, queue and hooks. It knows no plugin by name."""

__version__ = "0.1.0"
