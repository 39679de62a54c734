"""`python -m train.cotrain FOLDER`."""

import sys
from pathlib import Path

from train.cotrain.run import main

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
