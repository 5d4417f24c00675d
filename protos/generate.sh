#!/usr/bin/env bash
# Writes the Python stubs beside the contracts. Run after a .proto changes; a test compares.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m grpc_tools.protoc -I . --python_out="${1:-.}" --pyi_out="${1:-.}" --grpc_python_out="${1:-.}" protos/parley/v1/*.proto
