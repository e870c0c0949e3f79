# nni-hypens on CPUs, as a user without rights. See docs/guides/install.md for how to build and run it.
FROM python:3.11-slim
RUN useradd --create-home --uid 1000 hypens && mkdir /work && chown hypens /work
# From this index torch comes without CUDA; the install below then finds it in place.
RUN pip install --no-cache-dir "torch>=2.9" "torchvision>=0.24" --index-url https://download.pytorch.org/whl/cpu
WORKDIR /opt/nni_hypens
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY nni_hypens nni_hypens
COPY search_spaces search_spaces
RUN pip install --no-cache-dir ".[export]"
USER hypens
WORKDIR /work
ENTRYPOINT ["nni-hypens"]
CMD ["--help"]
