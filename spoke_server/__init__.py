"""The Spoke registry server: modules of Protobuf files in immutable versions, over HTTP."""

__version__ = "1.0.0"
