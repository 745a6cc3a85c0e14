"""The product database by SQLAlchemy and Alembic, on SQLite and PostgreSQL.

Tables and migrations are in `schema`, what writes a run in `publishing`; views/ and queries/ hold plain SQL.
"""
