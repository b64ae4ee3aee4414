"""`python -m charrnn`: see `charrnn.cli.main`."""

from charrnn.cli.main import main

if __name__ == "__main__":
    main()
