# Two images: `service` answers HTTP and holds neither torch nor the engine; `worker` trains, on the CPU or on CUDA.
#
#   docker build --target service --tag plumbline-service .
#   docker build --target worker  --tag plumbline-worker  .
#
# What is installed is what requirements.lock names and the tests ran with. tests/test_deployment.py runs the steps below by
# hand, line by line, in a clean folder.

# By tag. To pin the bits too, build with --build-arg PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:DIGEST
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1
# A user by number, so that volumes on the host can be given to it: chown 10001:10001.
RUN groupadd --gid 10001 plumbline \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin plumbline \
 && install --directory --owner plumbline --group plumbline /var/lib/plumbline/artifacts
RUN python -m venv --without-pip /opt/plumbline
ENV PATH=/opt/plumbline/bin:$PATH
WORKDIR /build


# A wheel of the service: the folders it needs, so that the rest of workers/ is never near its image.
FROM base AS service-wheel
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN pip --python /opt/plumbline/bin/python install --constraint requirements.lock setuptools
COPY service service
COPY workers/__init__.py workers/settings.py workers/
COPY workers/contract workers/contract
COPY workers/store workers/store
COPY workers/analysis workers/analysis
COPY workers/theory workers/theory
RUN pip --python /opt/plumbline/bin/python wheel --no-deps --no-build-isolation --wheel-dir /wheels .


FROM base AS worker-wheel
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN pip --python /opt/plumbline/bin/python install --constraint requirements.lock setuptools
COPY service service
COPY workers workers
RUN pip --python /opt/plumbline/bin/python wheel --no-deps --no-build-isolation --wheel-dir /wheels .


# The packages first, in a layer that only a new lock changes; our own code last, in one of less than a megabyte.
FROM base AS service
RUN --mount=type=bind,source=requirements.lock,target=requirements.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; x = p['optional-dependencies']; print(*p['dependencies'], *x['service'], *x['postgres'], sep='\n')" > /tmp/wanted.txt \
 && pip --python /opt/plumbline/bin/python install --constraint requirements.lock --requirement /tmp/wanted.txt \
 && rm /tmp/wanted.txt
RUN --mount=type=bind,from=service-wheel,source=/wheels,target=/wheels \
    pip --python /opt/plumbline/bin/python install --no-deps --no-index /wheels/*.whl \
 && du -sh /opt/plumbline
USER 10001:10001
WORKDIR /tmp
ENV PYTHONDONTWRITEBYTECODE=1 \
    PLUMBLINE_HOST=0.0.0.0 \
    PLUMBLINE_ARTIFACTS=/var/lib/plumbline/artifacts
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ.get(\"PLUMBLINE_PORT\", 8000)}/healthz', timeout=4)"]
CMD ["plumbline", "api"]


FROM base AS worker
# For the engine's fast path, which is compiled for the processor that it runs on, when a worker starts.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++=4:12.2.0-3 \
 && rm -rf /var/lib/apt/lists/*
# Where torch comes from: https://download.pytorch.org/whl/cpu, https://download.pytorch.org/whl/cu126 and so on. Nothing
# takes the package index's own build, which is the one with CUDA on Linux.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=bind,source=requirements.lock,target=requirements.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    if [ -n "$TORCH_INDEX" ]; then \
      pip --python /opt/plumbline/bin/python install --no-deps --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.lock)"; \
    fi \
 && python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; x = p['optional-dependencies']; print(*p['dependencies'], *x['worker'], *x['postgres'], sep='\n')" > /tmp/wanted.txt \
 && pip --python /opt/plumbline/bin/python install --constraint requirements.lock --requirement /tmp/wanted.txt \
 && rm /tmp/wanted.txt
RUN --mount=type=bind,from=worker-wheel,source=/wheels,target=/wheels \
    pip --python /opt/plumbline/bin/python install --no-deps --no-index /wheels/*.whl \
 && du -sh /opt/plumbline
USER 10001:10001
WORKDIR /tmp
# The volume is there for locks even where the results are on an object store: all workers of a host mount it.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PLUMBLINE_ARTIFACTS=/var/lib/plumbline/artifacts \
    PLUMBLINE_LOCKS=/var/lib/plumbline/artifacts/.cards
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 \
    CMD ["python", "-m", "workers.health"]
CMD ["plumbline", "worker"]
