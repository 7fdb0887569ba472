# The wheel in a clean image: `docker build -t spi .`, then `docker run --rm spi spi list algorithms`.
# Runs and compiled programs outlive the container in a volume: `docker run -v spi:/data spi spi demo`.
FROM python:3.11-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.11-slim
COPY --from=build /wheel /wheel
COPY constraints.txt /wheel/
# PyTorch's CPU build: Stable-Baselines3 imports torch, the algorithms here do not use it.
RUN pip install --no-cache-dir -c /wheel/constraints.txt torch --index-url https://download.pytorch.org/whl/cpu \
 && pip install --no-cache-dir -c /wheel/constraints.txt "$(echo /wheel/*.whl)[cli,plot,video,envpool]"
RUN useradd --create-home spi && mkdir /data && chown spi /data
USER spi
ENV SPI_COMPILE_CACHE=/data/cache
WORKDIR /data
CMD ["spi", "--help"]
