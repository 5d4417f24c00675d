"""The services of Parley, and how gRPC waits for their sockets.

gRPC reads its environment when it is first imported; every process of a service imports this package before.
"""

import os

# Since grpcio 1.80 sockets are watched by threads of gRPC's event engine, which hand each message to the thread that
# waits for calls, which hands it to the event loop. Without the engine that thread watches them itself: a message and
# its answer take 10 to 20 % less time (`benchmarks.hops`).
GRPC_ENVIRONMENT = {"GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener"}

for _name, _value in GRPC_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
