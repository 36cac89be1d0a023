# syntax=docker/dockerfile:1
# Image of Fitserve. TORCH_INDEX is a wheel index with CPU builds of PyTorch, for a small image without
# CUDA. By default PyTorch comes from the default index, which has builds for CUDA on Linux. EXTRA_PACKAGES are
# installed too, such as `jax[cuda13]` for compiled jobs on GPUs.

FROM python:3.11-slim AS build
ARG TORCH_INDEX=""
ARG EXTRA_PACKAGES=""
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY fitserve fitserve
COPY service service
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/fitserve \
    && /opt/fitserve/bin/pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        --constraint constraints.txt '.[service,compiled]' ${EXTRA_PACKAGES}

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home fitserve \
    && install --directory --owner=fitserve --group=fitserve /data
COPY --from=build /opt/fitserve /opt/fitserve
ENV PATH="/opt/fitserve/bin:$PATH" \
    FITSERVE_HOST=0.0.0.0 \
    FITSERVE_PORT=8000 \
    FITSERVE_DATA_DIR=/data \
    FITSERVE_LOG_FORMAT=json
USER fitserve
WORKDIR /data
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["fitserve"]
CMD ["serve"]
