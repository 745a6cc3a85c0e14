"""A PostgreSQL that goes away under an open page, and comes back."""

from __future__ import annotations

from pathlib import Path

from sql.store import open_database
from tests.review_site import SHIRT, Answer, page_id_of, publish, review_site
from tests.sql.servers import Server


def test_what_was_marked_is_sent_again_when_the_database_is_back(
    server: Server, migrated_postgresql: str, tmp_path: Path
) -> None:
    name = server.create(migrated_postgresql)
    database = open_database(server.database_url(name))
    try:
        publish(database, [Answer(f"p{number}", SHIRT, 0.5) for number in range(10)])
        with review_site(database, tmp_path) as site:
            client = site.client()
            sent = {"page_id": page_id_of(client.get(f"/queue?in={SHIRT}")), "wrong": [3], "leaves": {}}
            server.execute("ALTER DATABASE {} RENAME TO {}", name, f"{name}_away")
            failed = client.send("/page", sent)
            assert failed.status == 503
            assert "cannot be reached" in failed.json["error"]
            assert failed.json["error"].endswith("Nothing of this page was written; try again.")
            assert "The database failed" in client.get("/progress").text
            server.execute("ALTER DATABASE {} RENAME TO {}", f"{name}_away", name)
            again = client.send("/page", sent)
            assert (again.json["decided"], again.json["marked"]) == (9, 1)
    finally:
        server.drop(f"{name}_away")
        server.drop(name)
