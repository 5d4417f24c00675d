"""How large a message may be, the same for every server and client of the services."""

MAX_MESSAGE_BYTES = 64 << 20  # gRPC's own limit is 4 MiB, that of Ray Serve 2 GiB
