"""Run the command line with `python -m fitserve`."""

from fitserve.cli import main

if __name__ == "__main__":
    main()
