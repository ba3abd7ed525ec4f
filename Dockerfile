# A service of trained pipelines: docs/serving.md says how to run it.
#
#     docker build -t spacy-lgu .
#     docker build -t spacy-lgu --build-arg EXTRAS=serve,cuda13x \
#         --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# torch comes from here, all else from PyPI.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=serve
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /opt/spacy-lgu
COPY constraints.txt ./
RUN grep "^torch==" constraints.txt > torch.txt \
    && pip install --index-url "${TORCH_INDEX}" --extra-index-url https://pypi.org/simple \
        --requirement torch.txt
COPY pyproject.toml README.md LICENSE ./
COPY spacy_lgu ./spacy_lgu
RUN pip install --constraint constraints.txt ".[${EXTRAS}]"

# Nothing is fetched while it runs: pipelines bring their base, or it is in HF_HOME.
ENV HF_HOME=/models HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
RUN useradd --uid 10001 --create-home serve && mkdir -p /pipelines /models
USER 10001
VOLUME ["/pipelines", "/models"]
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=5s --start-period=5m \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live')"]
# A second signal would end it at once, so there is one process and no shell.
ENTRYPOINT ["python", "-m", "spacy", "lgu", "serve"]
CMD ["--folder", "/pipelines", "--host", "0.0.0.0", "--port", "8000"]
