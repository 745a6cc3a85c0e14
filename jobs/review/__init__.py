"""The pages on which people review answers in a browser: queue, focus, product and progress.

Reads the product database and, for pictures, thumbnails/ and images/ of the home. Writes decisions and the answers on
planted products to the database, and names and password hashes of people to people.json in the home.

Others import: application, people, pictures, serve.
"""
