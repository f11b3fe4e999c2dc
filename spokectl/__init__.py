"""spokectl: the operator's tool of Spoke, a Protobuf schema registry."""

__version__ = "0.1.0"
