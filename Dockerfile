# The framework with a GPU build of torch; the data and the runs are mounted:
#   docker build -t nas-lightning .
#   docker run --gpus all --shm-size 8g -v "$PWD/outputs:/work/outputs" -v "$HOME/data:/data" nas-lightning \
#     method=darts data=cifar10 data.root=/data
FROM python:3.12-slim

RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home runner && mkdir /work && chown runner /work
COPY pyproject.toml README.md LICENSE NOTICE /src/
COPY conf /src/conf
COPY src /src/src
# EXTRAS: any of those in pyproject.toml, for instance sweeps,mlflow
ARG EXTRAS=tensorboard
RUN pip install --no-cache-dir "/src[${EXTRAS}]"

USER runner
WORKDIR /work
ENTRYPOINT ["nas-lightning"]
CMD ["--help"]
