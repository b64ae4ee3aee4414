"""`python -m charrnn`: see `charrnn.cli`."""

from charrnn.cli import main

if __name__ == "__main__":
    main()
