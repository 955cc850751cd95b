# An image that runs the workflow and all commands; docs/running.md shows how.
#
#   docker build --tag cyborgs .                                   for CPUs
#   docker build --tag cyborgs:gpu --build-arg EXTRAS=gpu .        for NVIDIA GPUs
#
# No image of CUDA below: torch's packages bring CUDA, and the host its driver.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

# Extras of pyproject.toml: cpu or gpu, and what else is wanted, as in gpu,mlflow.
ARG EXTRAS=cpu

# What changes seldom comes first.
WORKDIR /opt/cyborgs
COPY pyproject.toml ./
COPY envs/constraints.txt envs/
COPY containers/install.sh containers/
RUN containers/install.sh "${EXTRAS}"

COPY . .
RUN python3 -m pip install --no-cache-dir --no-deps . \
    && rm -rf build ./*.egg-info \
    && useradd --uid 1000 cyborgs \
    && install --directory --owner 1000 /work

# Any user may run it (`docker run --user`): caches go where everybody can write, and programs that
# ask who they are get a name.
ENV HOME=/tmp USER=cyborgs LANG=C.UTF-8
USER 1000
WORKDIR /work
CMD ["cyborgs", "--help"]
