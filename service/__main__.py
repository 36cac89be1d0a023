"""The service's commands as `python -m service`, which also works in a source tree without installation."""

from service.cli import main

if __name__ == "__main__":
    main()
