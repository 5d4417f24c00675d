# Images of Parley, one target each: gateway, services, train, client.
#
#   docker build --target gateway  -t parley-gateway .
#   docker build --target services -t parley-services .
#   docker build --target services --build-arg GPU=1 -t parley-services:cuda .     torch with its CUDA libraries
#   docker build --target services --build-arg PYTHON_IMAGE=… --build-arg TORCH_INDEX=… .
#
# Each has its packages in /opt/parley (a virtual environment, from requirements.lock), our code in /app, and runs as a
# user without rights. Checkpoints are mounted, never copied. The code comes last: a change of it rebuilds no packages.

ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS packages
WORKDIR /build
RUN python3 -m venv /opt/parley
COPY pyproject.toml requirements.lock install.py ./

# Of the gateway and of every client: no torch. `--no-editable` installs the project without code: that is in /app.
FROM packages AS gateway-packages
RUN /opt/parley/bin/python install.py --no-editable gateway && /opt/parley/bin/pip uninstall -q -y pip

FROM packages AS services-packages
ARG GPU=0
ARG TORCH_INDEX=
ARG EXTRAS=serve,triton
RUN /opt/parley/bin/python install.py --no-editable --gpu "$GPU" --torch-index "$TORCH_INDEX" $(echo "$EXTRAS" | tr , ' ')

FROM services-packages AS train-packages
RUN /opt/parley/bin/python install.py --no-editable gateway train kubernetes

FROM ${PYTHON_IMAGE} AS base
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin parley \
    && install -d -o parley -g parley /checkpoints /runs /secrets
ENV PATH=/opt/parley/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /app

FROM base AS gateway
COPY --from=gateway-packages /opt/parley /opt/parley
COPY parley parley
COPY protos protos
COPY cli cli
COPY services services
USER 10001
EXPOSE 50051 8080
CMD ["python", "-m", "services.gateway"]

FROM gateway AS client
COPY examples examples
WORKDIR /tmp
ENTRYPOINT ["parley"]
CMD ["ask", "--help"]

FROM base AS services
COPY --from=services-packages /opt/parley /opt/parley
COPY parley parley
COPY protos protos
COPY cli cli
COPY services services
USER 10001
EXPOSE 8000 9000
CMD ["ray", "start", "--help"]

FROM base AS train
COPY --from=train-packages /opt/parley /opt/parley
COPY parley parley
COPY protos protos
COPY cli cli
COPY services services
COPY training training
USER 10001
ENTRYPOINT ["parley"]
CMD ["train", "--help"]
