"""Run the service's commands with `python -m service`, also from a source tree that is not installed."""

from service.cli import main

if __name__ == "__main__":
    main()
