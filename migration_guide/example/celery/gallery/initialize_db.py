"""Makes the tables: `python -m gallery.initialize_db development.ini`."""

import argparse

from pyramid.paster import bootstrap

from .models import Base


def main():
    parser = argparse.ArgumentParser(description="Make the gallery's tables.")
    parser.add_argument("ini", help="the application's ini file")
    with bootstrap(parser.parse_args().ini) as env:
        Base.metadata.create_all(env["registry"]["engine"])


if __name__ == "__main__":
    main()
