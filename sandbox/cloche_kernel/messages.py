"""Constants of the wire; the messages themselves are documented in src/kernel/messages.ts, which this mirrors."""

PROTOCOL_VERSION = 1

MAX_HEADER_BYTES = 16_384
MAX_PAYLOAD_BYTES = 1_048_576
MAX_BODY_PIECE_BYTES = 262_144
BODY_WINDOW_BYTES = 1_048_576
MAX_DISPLAY_BYTES = 20_971_520
MAX_DISPLAYS = 64

#: what a kernel may say through the supervisor; the rest of the sandbox's messages are the supervisor's own
KERNEL_TYPES = frozenset(
    {"display", "body", "finished", "answer", "call", "chunk", "checkpoint", "uncaptured", "result"}
)
#: what the host may send on to the kernel
FORWARDED_TYPES = frozenset({"execute", "load", "inspect", "reply", "credit", "restore", "recapture"})
