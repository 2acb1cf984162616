"""`python -m service` is `plumbline`, where the command is not on PATH."""

from service.cli import main

if __name__ == "__main__":
    main()
