"""Whether pushed files are Protobuf: protoc's own parser in a process of its own, and what its words mean for a push."""
