"""Entry point of Alembic: runs the revisions on the connection of `sql.schema.migrate`, inside its transaction."""

from alembic import context

from sql.schema.migrate import VERSION_TABLE
from sql.schema.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
context.run_migrations()
