"""Networks, releases, calibration, training and serving. Nothing here uses Spark, catalogs or databases."""
