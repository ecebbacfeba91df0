"""What `make bench` measures: speed and size of cruor, beside the paper's way. `python -m bench.run`."""

import warnings

# effdet scripts some of its functions when it is imported, which torch warns of.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.jit")
