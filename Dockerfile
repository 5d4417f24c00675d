# Images of Parley, one target each: gateway, services, vllm, train, client.
#
#   docker build --target gateway  -t parley-gateway .
#   docker build --target services -t parley-services .
#   docker build --target services --build-arg GPU=1 -t parley-services:cuda .     torch with its CUDA libraries
#   docker build --target vllm     -t parley-vllm .       the services, with vLLM in the LLM core; for GPUs, x86-64
#   docker build --target services --build-arg PYTHON_IMAGE=… --build-arg TORCH_INDEX=… .
#
# PYTHON_IMAGE: any image with Python 3.11 to 3.13 and its `venv`, for example one of NVIDIA's CUDA bases with Python.
# TORCH_INDEX: an index to take torch from. Packages are those of requirements.lock, in /opt/parley; our code is in /app
# and comes last: a change of it rebuilds no packages. Images run as a user without rights, and with a read-only root.
# Checkpoints are mounted, never copied.

ARG PYTHON_IMAGE=python:3.11-slim

# `--no-editable` installs the project without its code, for its command `parley`.
FROM ${PYTHON_IMAGE} AS packages
ENV PIP_CACHE_DIR=/var/cache/pip
WORKDIR /build
RUN python3 -m venv /opt/parley
COPY pyproject.toml requirements.lock install.py ./

# Of the gateway and of every client: no torch.
FROM packages AS gateway-packages
RUN --mount=type=cache,target=/var/cache/pip \
    /opt/parley/bin/python install.py --no-editable gateway && /opt/parley/bin/pip uninstall -q -y pip

FROM packages AS services-packages
ARG GPU=0
ARG TORCH_INDEX=
RUN --mount=type=cache,target=/var/cache/pip \
    /opt/parley/bin/python install.py --no-editable --gpu "$GPU" --torch-index "$TORCH_INDEX" serve triton

# vLLM's pins do not fit ours: all that its lock names, and nothing else. The lock leaves setuptools out.
FROM packages AS vllm-packages
COPY services/llm_core/vllm_backend/requirements.lock vllm.lock
RUN --mount=type=cache,target=/var/cache/pip \
    /opt/parley/bin/pip install -q --no-deps -r vllm.lock "setuptools>=77.0.3,<81" && /opt/parley/bin/pip install -q --no-deps .

FROM scratch AS code
WORKDIR /app
COPY parley parley
COPY protos protos
COPY cli cli
COPY services services

FROM ${PYTHON_IMAGE} AS base
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin parley \
    && install -d -o parley -g parley /checkpoints /runs /secrets /repository
ENV PATH=/opt/parley/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /app

FROM base AS gateway
COPY --from=gateway-packages /opt/parley /opt/parley
COPY --from=code /app /app
USER 10001
EXPOSE 50051 8080
CMD ["python", "-m", "services.gateway"]

FROM gateway AS client
COPY examples examples
WORKDIR /tmp
ENTRYPOINT ["parley"]
CMD ["ask", "--help"]

FROM base AS services-base
COPY --from=services-packages /opt/parley /opt/parley

FROM services-base AS services
COPY --from=code /app /app
USER 10001
EXPOSE 8000 9000 9400
CMD ["ray", "start", "--help"]

# Triton compiles the launchers of its kernels when it runs: with gcc and Python's headers, which Python's own images have.
FROM base AS vllm
RUN apt-get update -q && apt-get install -q -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY --from=vllm-packages /opt/parley /opt/parley
COPY --from=code /app /app
USER 10001
EXPOSE 8000 9000 9400
CMD ["ray", "start", "--help"]

# The packages of the services, in a layer that both images share, and what training needs besides.
FROM services-base AS train
COPY pyproject.toml requirements.lock install.py /build/
RUN --mount=type=cache,target=/var/cache/pip \
    PIP_CACHE_DIR=/var/cache/pip python /build/install.py --no-editable train kubernetes
COPY --from=code /app /app
COPY training training
USER 10001
ENTRYPOINT ["parley"]
CMD ["train", "--help"]
