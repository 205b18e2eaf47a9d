"""`python -m cl_llama` is `cl-llama`."""

import sys

from cl_llama.cli import main

if __name__ == "__main__":
    sys.exit(main())
