# The two commands of README.md in a container:
#   docker build --tag ser_lib . && docker run --rm ser_lib     # make all
#   docker run --rm ser_lib make test
# Records stay with `--volume "$PWD/reports:/home/ser/ser_lib/reports"`; docs/tried.md says what was tried.

FROM debian:bookworm-slim AS base
# Not pinned: within a release Debian changes little, and requirements.lock pins what results depend on.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home ser
ENV LANG=C.UTF-8

FROM base AS project
# hadolint ignore=DL3066
USER ser
WORKDIR /home/ser/ser_lib
COPY --chown=ser:ser . .
RUN make setup && rm -rf ~/.cache
CMD ["make", "all"]
