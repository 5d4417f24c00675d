"""Programs that measure Parley. They speak gRPC as its services do."""

import services  # noqa: F401  before gRPC is imported, which reads its environment then
