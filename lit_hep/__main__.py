"""``python -m lit_hep``."""

from lit_hep.cli import main

if __name__ == "__main__":
    main()
